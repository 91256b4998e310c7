// Package options describes and parses the key=value options of systems,
// workloads and faults, so that a wrong one is refused with the words of those
// that exist.
package options

import (
	"fmt"
	"maps"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"
)

// Kind is what values an option takes.
type Kind string

// The kinds.
const (
	String   Kind = "string"
	Int      Kind = "int"
	Float    Kind = "float"
	Bool     Kind = "bool"
	Duration Kind = "duration"
)

// Option is one option: its kind is that of Default's text unless Values lists
// the only words allowed.
type Option struct {
	Name    string   `json:"name"`
	Doc     string   `json:"doc"`
	Kind    Kind     `json:"kind"`
	Default string   `json:"default"`
	Values  []string `json:"values,omitempty"`
	// Min and Max bound Int, Float and Duration (in its text form), "" for none.
	Min string `json:"min,omitempty"`
	Max string `json:"max,omitempty"`
}

// Values are resolved options: every option has one, of its kind.
type Values map[string]string

// Resolve checks what was given against the options and fills in the defaults.
// An unknown name or an unfit value is an error that names what is allowed.
func Resolve(specs []Option, given map[string]string) (Values, error) {
	v := Values{}
	for _, o := range specs {
		v[o.Name] = o.Default
	}
	for _, name := range slices.Sorted(maps.Keys(given)) {
		i := slices.IndexFunc(specs, func(o Option) bool { return o.Name == name })
		if i < 0 {
			return nil, fmt.Errorf("unknown option %q; there are: %s", name, names(specs))
		}
		if err := specs[i].check(given[name]); err != nil {
			return nil, err
		}
		v[name] = given[name]
	}
	return v, nil
}

func names(specs []Option) string {
	if len(specs) == 0 {
		return "none here"
	}
	var n []string
	for _, o := range specs {
		n = append(n, o.Name)
	}
	sort.Strings(n)
	return strings.Join(n, ", ")
}

func (o Option) check(s string) error {
	if len(o.Values) > 0 {
		if !slices.Contains(o.Values, s) {
			return fmt.Errorf("option %s=%s: expected one of %s", o.Name, s, strings.Join(o.Values, ", "))
		}
		return nil
	}
	n, err := o.number(s)
	if err != nil {
		return fmt.Errorf("option %s=%s: expected %s", o.Name, s, o.article())
	}
	for _, b := range []struct {
		bound, words string
		sign         float64
	}{{o.Min, "at least", 1}, {o.Max, "at most", -1}} {
		if b.bound == "" {
			continue
		}
		if m, err := o.number(b.bound); err == nil && (n-m)*b.sign < 0 {
			return fmt.Errorf("option %s=%s: expected %s %s", o.Name, s, b.words, b.bound)
		}
	}
	return nil
}

func (o Option) article() string {
	switch o.Kind {
	case Int:
		return "a whole number"
	case Float:
		return "a number"
	case Bool:
		return "true or false"
	case Duration:
		return "a duration like 500ms or 2s"
	case String:
		return "a string"
	}
	return string(o.Kind)
}

// number is s as a number to compare bounds with; 0 for kinds without order.
func (o Option) number(s string) (float64, error) {
	switch o.Kind {
	case Int:
		n, err := strconv.Atoi(s)
		return float64(n), err
	case Float:
		return strconv.ParseFloat(s, 64)
	case Bool:
		_, err := strconv.ParseBool(s)
		return 0, err
	case Duration:
		d, err := time.ParseDuration(s)
		return float64(d), err
	case String:
		return 0, nil
	}
	return 0, fmt.Errorf("options: unknown kind %q", o.Kind)
}

// The accessors return the zero value for a name that was not among the options
// Resolve was given.

// String is the option's text.
func (v Values) String(name string) string { return v[name] }

// Int is the option as a whole number.
func (v Values) Int(name string) int { n, _ := strconv.Atoi(v[name]); return n }

// Float is the option as a number.
func (v Values) Float(name string) float64 { f, _ := strconv.ParseFloat(v[name], 64); return f }

// Bool is the option as a truth value.
func (v Values) Bool(name string) bool { b, _ := strconv.ParseBool(v[name]); return b }

// Duration is the option as a duration.
func (v Values) Duration(name string) time.Duration { d, _ := time.ParseDuration(v[name]); return d }
