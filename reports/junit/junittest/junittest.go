// Package junittest holds JUnit XML to the rules that CI services read it by.
package junittest

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"time"
)

// rule is what the schema that Jenkins publishes (junit-10.xsd) says of an element,
// as far as faultline writes any: attributes that must and may be there, and
// children in the order in which they may stand.
type rule struct {
	must, may, children []string
}

func rules() map[string]rule {
	problem := rule{may: []string{"message", "type"}}
	return map[string]rule{
		"testsuites": {may: []string{"name", "time", "tests", "failures", "disabled", "errors"}, children: []string{"testsuite"}},
		"testsuite": {
			must:     []string{"name", "tests"},
			may:      []string{"failures", "errors", "time", "disabled", "skipped", "timestamp", "hostname", "id", "package"},
			children: []string{"properties", "testcase", "system-out", "system-err"},
		},
		"properties": {children: []string{"property"}},
		"property":   {must: []string{"name", "value"}},
		"testcase": {
			must:     []string{"name"},
			may:      []string{"assertions", "time", "classname", "status"},
			children: []string{"skipped", "error", "failure", "system-out", "system-err"},
		},
		"failure": problem, "error": problem, "system-out": {},
	}
}

// open is an element whose end has not come yet.
type open struct {
	name  string
	last  int // place of the last child among those allowed
	count map[string]int
	say   map[string]int // what the attributes say of the counts
}

// Check says what is wrong with a document: its form, an unknown element or
// attribute, one that is missing or out of order, numbers and times that are none,
// or counts that do not agree with the tests.
func Check(b []byte) error {
	d := xml.NewDecoder(bytes.NewReader(b))
	var stack []*open
	roots := 0
	for {
		t, err := d.Token()
		if errors.Is(err, io.EOF) {
			if roots != 1 {
				return fmt.Errorf("%d root elements", roots)
			}
			return nil
		}
		if err != nil {
			return err
		}
		line, _ := d.InputPos()
		switch t := t.(type) {
		case xml.StartElement:
			if len(stack) == 0 {
				roots++
			}
			o, err := begin(t, stack)
			if err != nil {
				return fmt.Errorf("line %d: %w", line, err)
			}
			stack = append(stack, o)
		case xml.EndElement:
			if err := stack[len(stack)-1].end(); err != nil {
				return fmt.Errorf("line %d: %w", line, err)
			}
			stack = stack[:len(stack)-1]
		}
	}
}

func begin(t xml.StartElement, stack []*open) (*open, error) {
	name := t.Name.Local
	r, known := rules()[name]
	if !known || len(stack) == 0 && name != "testsuites" {
		return nil, fmt.Errorf("unexpected element %s", name)
	}
	if len(stack) > 0 {
		up := stack[len(stack)-1]
		at := slices.Index(rules()[up.name].children, name)
		if at < 0 || at < up.last {
			return nil, fmt.Errorf("%s may not stand here in %s", name, up.name)
		}
		up.last = at
		for _, o := range stack {
			o.count[name]++
		}
	}
	o := &open{name: name, count: map[string]int{}, say: map[string]int{}}
	var have []string
	for _, a := range t.Attr {
		have = append(have, a.Name.Local)
		if err := o.attribute(r, a.Name.Local, a.Value); err != nil {
			return nil, err
		}
	}
	for _, m := range r.must {
		if !slices.Contains(have, m) {
			return nil, fmt.Errorf("%s lacks %s", name, m)
		}
	}
	return o, nil
}

func (o *open) attribute(r rule, name, value string) error {
	if !slices.Contains(r.must, name) && !slices.Contains(r.may, name) {
		return fmt.Errorf("%s has no attribute %s", o.name, name)
	}
	var err error
	switch name {
	case "tests", "failures", "errors", "skipped":
		o.say[name], err = strconv.Atoi(value)
	case "time":
		_, err = strconv.ParseFloat(value, 64)
	case "timestamp":
		_, err = time.Parse("2006-01-02T15:04:05", value)
	}
	if err != nil {
		return fmt.Errorf("%s of %s: %w", name, o.name, err)
	}
	return nil
}

func (o *open) end() error {
	if o.name != "testsuite" {
		return nil
	}
	for attribute, element := range map[string]string{"tests": "testcase", "failures": "failure", "errors": "error", "skipped": "skipped"} {
		if said, ok := o.say[attribute]; ok && said != o.count[element] {
			return fmt.Errorf("testsuite says %s=%d, there are %d", attribute, said, o.count[element])
		}
	}
	return nil
}
