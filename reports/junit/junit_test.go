package junit_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/faultline-dev/faultline/reports/junit"
	"github.com/faultline-dev/faultline/reports/junit/junittest"
)

func TestWriteKeepsToTheRules(t *testing.T) {
	t.Parallel()
	s := junit.Suite{Name: "s", Time: junit.Seconds(1500), Properties: &junit.Properties{All: []junit.Property{{Name: "a", Value: "<b>"}}}}
	s.Add(junit.Case{Name: "passes"})
	s.Add(junit.Case{Name: "fails", Failure: &junit.Problem{Message: "m", Type: "t", Text: "]]> &"}, Out: "out"})
	s.Add(junit.Case{Name: "breaks", Error: &junit.Problem{}})
	var b bytes.Buffer
	if err := junit.Write(&b, "", []junit.Suite{s, {Name: "empty"}}); err != nil {
		t.Fatal(err)
	}
	if err := junittest.Check(b.Bytes()); err != nil {
		t.Errorf("%v in\n%s", err, &b)
	}
	for was, is := range map[string]string{
		`tests="3"`: `tests="4"`, `failures="1"`: `failures="one"`, `<testcase name="passes"`: `<testcase title="passes"`,
		`<property name="a" value`: `<property value`, "<system-out>out</system-out>": "<output>out</output>", "</testsuites>": "</testsuites><x/>",
		`<error message="" type=""></error>`: "", `time="0.000"`: `time="0 s"`,
	} {
		bad := strings.Replace(b.String(), was, is, 1)
		if bad == b.String() {
			t.Errorf("there is no %s in\n%s", was, &b)
		}
		if junittest.Check([]byte(bad)) == nil {
			t.Errorf("with %s instead of %s it passes", is, was)
		}
	}
}
