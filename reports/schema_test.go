package reports

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

func compileSchema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(Schema()))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err = c.AddResource("results.schema.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("results.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestResultsFollowTheSchema validates results that pass, fail, are unknown and
// could not be tested, and results with nothing in them.
func TestResultsFollowTheSchema(t *testing.T) {
	t.Parallel()
	s := compileSchema(t)
	valid := func(name string, b []byte) {
		doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Validate(doc); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, shape := range situations() {
		f := synthFolder(t, 200, shape)
		b, err := os.ReadFile(filepath.Join(f.Path, ResultsFile))
		if err != nil {
			t.Fatal(err)
		}
		valid(name, b)
	}
	var b bytes.Buffer
	if err := new(Results).Encode(&b); err != nil {
		t.Fatal(err)
	}
	valid("empty", b.Bytes())
	bad, err := jsonschema.UnmarshalJSON(strings.NewReader(strings.Replace(b.String(), `"unknown"`, `"perhaps"`, 1)))
	if err != nil {
		t.Fatal(err)
	}
	if s.Validate(bad) == nil {
		t.Error("the schema takes any verdict")
	}
}
