package suites

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/faultline-dev/faultline/checker"
	"github.com/faultline-dev/faultline/checker/ladder"
)

// maxFile bounds a suite's file, in bytes.
const maxFile = 1 << 20

// flagNames are the flags of `faultline run` that a suite may set.
func flagNames() []string {
	return []string{
		"system", "workload", "nemesis", "on", "time", "interval", "nodes", "keys", "concurrency", "rate", "bug", "version",
		"image", "seed", "plan", "check-timeout", "check-memory", "online",
	}
}

// Read reads a suite, strictly: every error names its line and column.
func Read(r io.Reader, file string) (Suite, error) {
	b, err := io.ReadAll(io.LimitReader(r, maxFile+1))
	if err != nil {
		return Suite{}, fmt.Errorf("%s: %w", file, err)
	}
	if len(b) > maxFile {
		return Suite{}, fmt.Errorf("%s: a suite has at most %d bytes", file, maxFile)
	}
	d := yaml.NewDecoder(bytes.NewReader(b))
	var doc, more yaml.Node
	if err = d.Decode(&doc); err != nil {
		if errors.Is(err, io.EOF) {
			return Suite{}, fmt.Errorf("%s:1:1: the suite is empty; expected runs: with a list of runs", file)
		}
		return Suite{}, syntaxError(file, err)
	}
	if err = d.Decode(&more); !errors.Is(err, io.EOF) {
		return Suite{}, fmt.Errorf("%s:%d:1: a suite is one YAML document; found another", file, max(1, more.Line))
	}
	p := reader{file: file, names: map[string]string{}, defaults: entry{retries: -1}}
	err = p.suite(doc.Content[0])
	return p.s, err
}

// syntaxError puts the line that the YAML reader names where others stand.
func syntaxError(file string, err error) error {
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	if rest, ok := strings.CutPrefix(text, "line "); ok {
		if line, what, ok := strings.Cut(rest, ": "); ok {
			return fmt.Errorf("%s:%s:1: %s", file, line, what)
		}
	}
	return fmt.Errorf("%s:1:1: %s", file, text)
}

// reader takes a document apart.
type reader struct {
	file     string
	s        Suite
	defaults entry
	names    map[string]string // of cases, and where they stand
}

// entry is one item of runs, or the defaults, before it is expanded.
type entry struct {
	flags    map[string]string
	name     string
	of, need int
	retries  int // -1 where none are given
	expect   *Expect
	axes     []axis
	exclude  []map[string]string
	include  []map[string]string
}

type axis struct {
	name   string
	values []string
}

func (p *reader) fail(n *yaml.Node, format string, args ...any) error {
	return fmt.Errorf("%s: %s", p.pos(n), fmt.Sprintf(format, args...))
}

func (p *reader) pos(n *yaml.Node) string { return fmt.Sprintf("%s:%d:%d", p.file, n.Line, n.Column) }

// fields visits the entries of a mapping; one that takes does not know is an
// error that names those that exist.
func (p *reader) fields(n *yaml.Node, what string, known []string, take func(key string, at, value *yaml.Node) error) error {
	n = resolve(n)
	if n.Kind != yaml.MappingNode {
		return p.fail(n, "expected %s with fields like %s, found %s", what, strings.Join(known[:min(3, len(known))], ", "), kind(n))
	}
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], resolve(n.Content[i+1])
		name := k.Value
		if seen[name] {
			return p.fail(k, "%q stands twice", name)
		}
		seen[name] = true
		base, _, _ := strings.Cut(name, ".")
		if !slices.Contains(known, name) && (base != "opts" || base == name || !slices.Contains(known, "opts")) {
			return p.fail(k, "unknown field %q in %s; there are: %s", name, what, strings.Join(known, ", "))
		}
		if err := take(name, k, v); err != nil {
			return err
		}
	}
	return nil
}

func resolve(n *yaml.Node) *yaml.Node {
	for range 16 {
		if n.Kind != yaml.AliasNode {
			break
		}
		n = n.Alias
	}
	return n
}

func kind(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	case yaml.ScalarNode:
		return strconv.Quote(n.Value)
	case yaml.DocumentNode, yaml.AliasNode:
	}
	return "something else"
}

func (p *reader) text(n *yaml.Node) (string, error) {
	n = resolve(n)
	if n.Kind != yaml.ScalarNode || n.Tag == "!!null" {
		return "", p.fail(n, "expected a value, found %s", kind(n))
	}
	return n.Value, nil
}

func (p *reader) list(n *yaml.Node, what string) ([]*yaml.Node, error) {
	n = resolve(n)
	if n.Kind != yaml.SequenceNode {
		return nil, p.fail(n, "expected a list of %s, found %s", what, kind(n))
	}
	if len(n.Content) == 0 {
		return nil, p.fail(n, "the list of %s is empty", what)
	}
	return n.Content, nil
}

func (p *reader) suite(n *yaml.Node) error {
	p.s.File = p.file
	var runs *yaml.Node
	known := []string{"name", "description", "budget", "seed", "defaults", "runs"}
	err := p.fields(n, "a suite", known, func(key string, _, v *yaml.Node) error {
		var err error
		switch key {
		case "name":
			p.s.Name, err = p.text(v)
		case "description":
			p.s.Description, err = p.text(v)
		case "budget":
			p.s.Budget, err = p.duration(v)
		case "seed":
			p.s.Seed, err = p.seed(v)
		case "defaults":
			p.defaults, err = p.entry(v, false)
		case "runs":
			runs = v
		}
		return err
	})
	if err != nil {
		return err
	}
	if runs == nil {
		return p.fail(n, "the suite has no runs: give a list of runs")
	}
	if p.s.Name == "" {
		return p.fail(n, "the suite has no name")
	}
	items, err := p.list(runs, "runs")
	if err != nil {
		return err
	}
	for _, item := range items {
		e, err := p.entry(item, true)
		if err != nil {
			return err
		}
		if err := p.expand(item, e); err != nil {
			return err
		}
	}
	return nil
}

func (p *reader) duration(n *yaml.Node) (time.Duration, error) {
	s, err := p.text(n)
	if err != nil {
		return 0, err
	}
	d, err := time.ParseDuration(s)
	if err != nil || d <= 0 {
		return 0, p.fail(n, "%q is not a time like 90s or 12m", s)
	}
	return d, nil
}

func (p *reader) seed(n *yaml.Node) (uint64, error) {
	s, err := p.text(n)
	if err != nil {
		return 0, err
	}
	v, err := strconv.ParseUint(s, 0, 64)
	if err != nil || v >= 1<<53 {
		return 0, p.fail(n, "seed %s: expected a whole number below 2^53", s)
	}
	return v, nil
}

// entry reads one item; only runs have a matrix.
func (p *reader) entry(n *yaml.Node, run bool) (entry, error) {
	e := entry{flags: map[string]string{}, retries: -1}
	known := append(flagNames(), "opts", "repeat", "retries-unknown", "expect")
	if run {
		known = append([]string{"name", "matrix", "exclude", "include"}, known...)
	}
	err := p.fields(n, "a run", known, func(key string, at, v *yaml.Node) error {
		var err error
		switch key {
		case "name":
			e.name, err = p.text(v)
		case "repeat":
			e.of, e.need, err = p.repeat(v)
		case "retries-unknown":
			e.retries, err = p.retries(v)
		case "expect":
			e.expect, err = p.expect(v)
		case "matrix":
			e.axes, err = p.matrix(v)
		case "exclude":
			e.exclude, err = p.cells(v, "cells to exclude")
		case "include":
			e.include, err = p.cells(v, "cells to include")
		default:
			err = p.flag(e.flags, key, v)
		}
		_ = at
		return err
	})
	return e, err
}

// flag reads a flag's value; a list becomes text with commas, opts one flag each.
func (p *reader) flag(flags map[string]string, key string, v *yaml.Node) error {
	if key == "opts" {
		if v.Kind != yaml.MappingNode {
			return p.fail(v, "expected options like reads: local, found %s", kind(v))
		}
		for i := 0; i+1 < len(v.Content); i += 2 {
			s, err := p.text(v.Content[i+1])
			if err != nil {
				return err
			}
			flags["opts."+v.Content[i].Value] = s
		}
		return nil
	}
	s, err := p.value(v)
	flags[key] = s
	return err
}

func (p *reader) value(v *yaml.Node) (string, error) {
	v = resolve(v)
	if v.Kind != yaml.SequenceNode {
		return p.text(v)
	}
	var parts []string
	for _, c := range v.Content {
		s, err := p.text(c)
		if err != nil {
			return "", err
		}
		parts = append(parts, s)
	}
	return strings.Join(parts, ","), nil
}

// repeat reads 5, "5 of 5" and "at least 4 of 5".
func (p *reader) repeat(n *yaml.Node) (of, need int, err error) {
	s, err := p.text(n)
	if err != nil {
		return 0, 0, err
	}
	needs, total, has := strings.Cut(strings.TrimPrefix(s, "at least "), " of ")
	if !has {
		needs, total = s, s
	}
	of, err1 := strconv.Atoi(strings.TrimSpace(total))
	need, err2 := strconv.Atoi(strings.TrimSpace(needs))
	if err1 != nil || err2 != nil || need < 1 || need > of || of > maxRuns {
		return 0, 0, p.fail(n, "repeat %q: expected a number, \"5 of 5\" or \"at least 4 of 5\"", s)
	}
	return of, need, nil
}

// maxRetries bounds how often one run is done once more.
const maxRetries = 10

func (p *reader) retries(n *yaml.Node) (int, error) {
	s, err := p.text(n)
	if err != nil {
		return 0, err
	}
	v, err := strconv.Atoi(s)
	if err != nil || v < 0 || v > maxRetries {
		return 0, p.fail(n, "retries-unknown %s: expected a number from 0 to %d", s, maxRetries)
	}
	return v, nil
}

// expect reads a verdict, or a verdict with anomalies.
func (p *reader) expect(n *yaml.Node) (*Expect, error) {
	e := &Expect{Verdict: checker.Valid}
	if n.Kind == yaml.ScalarNode {
		return e, p.verdict(e, n)
	}
	given := false
	err := p.fields(n, "an expectation", []string{"verdict", "anomalies", "ladder"}, func(key string, _, v *yaml.Node) error {
		switch key {
		case "verdict":
			given = true
			return p.verdict(e, v)
		case "ladder":
			return p.ladder(e, v)
		}
		s, err := p.value(v)
		if err != nil {
			return err
		}
		for a := range strings.SplitSeq(s, ",") {
			e.Anomalies = append(e.Anomalies, strings.FieldsFunc(a, func(r rune) bool { return r == '|' || r == ' ' }))
		}
		return nil
	})
	if err == nil && !given && len(e.Anomalies) > 0 {
		e.Verdict = checker.Invalid
	}
	if err == nil && len(e.Anomalies) > 0 && !e.Any && e.Verdict != checker.Invalid {
		err = p.fail(n, "anomalies are expected of the verdict %s", e.Verdict)
	}
	return e, err
}

// ladder reads what is expected of consistency models, like sequential: valid.
func (p *reader) ladder(e *Expect, n *yaml.Node) error {
	e.Ladder = map[string]checker.Verdict{}
	return p.fields(n, "a ladder", ladder.Names(), func(model string, _, v *yaml.Node) error {
		one := &Expect{}
		err := p.verdict(one, v)
		if err == nil && one.Any {
			err = p.fail(v, "any is no verdict of a model; leave it away")
		}
		e.Ladder[model] = one.Verdict
		return err
	})
}

func (p *reader) verdict(e *Expect, n *yaml.Node) error {
	s, err := p.text(n)
	if err != nil {
		return err
	}
	if e.Any = s == "any"; e.Any {
		return nil
	}
	if err := e.Verdict.UnmarshalText([]byte(s)); err != nil {
		return p.fail(n, "verdict %q is not one of valid, invalid, unknown, any", s)
	}
	return nil
}

func (p *reader) matrix(n *yaml.Node) ([]axis, error) {
	var axes []axis
	err := p.fields(n, "a matrix", append(flagNames(), "opts"), func(key string, at, v *yaml.Node) error {
		if key == "opts" {
			return p.fail(at, "an option is an axis by its name, like opts.reads")
		}
		items, err := p.list(v, "values")
		if err != nil {
			return err
		}
		a := axis{name: key}
		for _, i := range items {
			s, err := p.value(i)
			if err != nil {
				return err
			}
			a.values = append(a.values, s)
		}
		axes = append(axes, a)
		return nil
	})
	return axes, err
}

func (p *reader) cells(n *yaml.Node, what string) ([]map[string]string, error) {
	items, err := p.list(n, what)
	if err != nil {
		return nil, err
	}
	var cells []map[string]string
	for _, i := range items {
		cell := map[string]string{}
		err := p.fields(i, "a cell", append(flagNames(), "opts"), func(key string, _, v *yaml.Node) error { return p.flag(cell, key, v) })
		if err != nil {
			return nil, err
		}
		cells = append(cells, cell)
	}
	return cells, nil
}
