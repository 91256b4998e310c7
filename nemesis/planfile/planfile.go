// Package planfile reads plans that people wrote, or that runs recorded: YAML or
// JSON, strictly, with errors that name the line and the column.
//
//	time: 20s
//	steps:
//	  - fault: partition:leader   # or fault: partition, arg: leader
//	    at: 2s
//	    for: 3s
//	  - {fault: kill, targets: [n1, n2], at: 6s, for: 2s, opts: {keep: majority}}
//
// Fields that are missing: id is the fault's name and a number, seed follows from
// the plan's seed and the id, targets are chosen when the step starts. What came
// of a recorded step (done) is skipped; Pinned of package nemesis keeps its targets.
package planfile

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/faultline-dev/faultline/nemesis"
)

// sizeMax bounds what is read.
const sizeMax = 64 << 20

// Read reads a plan for a cluster of these nodes. name is what errors call the
// file. A plan without a time takes the end of its last step.
func Read(name string, r io.Reader, faults []nemesis.Fault, nodes []string) (nemesis.Plan, error) {
	b, err := io.ReadAll(io.LimitReader(r, sizeMax+1))
	if err != nil {
		return nemesis.Plan{}, fmt.Errorf("planfile: %s: %w", name, err)
	}
	if len(b) > sizeMax {
		return nemesis.Plan{}, fmt.Errorf("planfile: %s: more than %d bytes", name, sizeMax)
	}
	d := reader{name: name, faults: faults, nodes: nodes, ids: map[string]bool{}}
	root, err := d.document(b)
	if err != nil {
		return nemesis.Plan{}, err
	}
	return d.plan(root)
}

// reader turns nodes of YAML into a plan.
type reader struct {
	name   string
	faults []nemesis.Fault
	nodes  []string
	ids    map[string]bool
	counts map[string]int
}

// at is an error at a place in the file.
func (d *reader) at(n *yaml.Node, format string, args ...any) error {
	return fmt.Errorf("planfile: %s:%d:%d: %w", d.name, n.Line, n.Column, fmt.Errorf(format, args...))
}

// document parses the text; JSON is YAML but for tabs, and its own parser says
// better what is wrong with it.
func (d *reader) document(b []byte) (*yaml.Node, error) {
	if t := bytes.TrimSpace(b); len(t) > 0 && t[0] == '{' {
		var raw json.RawMessage
		var syntax *json.SyntaxError
		err := json.Unmarshal(b, &raw)
		if errors.As(err, &syntax) && strings.HasSuffix(d.name, ".json") {
			line := 1 + bytes.Count(b[:syntax.Offset], []byte("\n"))
			column := int(syntax.Offset) - (1 + bytes.LastIndexByte(b[:syntax.Offset], '\n'))
			return nil, fmt.Errorf("planfile: %s:%d:%d: %w", d.name, line, max(column, 1), err)
		}
		if err == nil {
			b = bytes.ReplaceAll(b, []byte("\t"), []byte(" "))
		}
	}
	var doc yaml.Node
	dec := yaml.NewDecoder(bytes.NewReader(b))
	if err := dec.Decode(&doc); err != nil {
		if errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("planfile: %s:1:1: the file is empty; it needs steps", d.name)
		}
		return nil, fmt.Errorf("planfile: %s:%w", d.name, syntax(err))
	}
	var more yaml.Node
	if err := dec.Decode(&more); err == nil {
		return nil, d.at(&more, "a second document; a file is one plan")
	}
	return doc.Content[0], nil
}

// syntax moves the line to where compilers put it.
func syntax(err error) error {
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	if rest, ok := strings.CutPrefix(text, "line "); ok {
		line, what, _ := strings.Cut(rest, ": ")
		if _, err := strconv.Atoi(line); err == nil {
			return fmt.Errorf("%s:1: %s", line, what)
		}
	}
	return fmt.Errorf("1:1: %s", text)
}

// fields calls f for each key of a mapping; unknown and doubled keys are errors.
func (d *reader) fields(n *yaml.Node, what string, f map[string]func(*yaml.Node) error) error {
	if n.Kind != yaml.MappingNode {
		return d.at(n, "expected %s as key: value pairs", what)
	}
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		read, ok := f[key.Value]
		if !ok {
			return d.at(key, "unknown field %q of %s; there are: %s", key.Value, what, strings.Join(keys(f), ", "))
		}
		if seen[key.Value] {
			return d.at(key, "%s comes twice", key.Value)
		}
		seen[key.Value] = true
		if value.Kind == yaml.AliasNode {
			value = value.Alias
		}
		if err := read(value); err != nil {
			return err
		}
	}
	return nil
}

func keys[V any](m map[string]V) []string {
	var k []string
	for name := range m {
		k = append(k, name)
	}
	slices.Sort(k)
	return k
}

func (d *reader) plan(root *yaml.Node) (nemesis.Plan, error) {
	p := nemesis.Plan{Format: 1}
	d.counts = map[string]int{}
	var steps *yaml.Node
	err := d.fields(root, "a plan", map[string]func(*yaml.Node) error{
		"format": func(n *yaml.Node) error {
			if n.Value != "1" {
				return d.at(n, "format %s; this version reads format 1", n.Value)
			}
			return nil
		},
		"seed":  func(n *yaml.Node) error { return d.number(n, &p.Seed) },
		"time":  func(n *yaml.Node) error { return d.duration(n, &p.Time) },
		"steps": func(n *yaml.Node) error { steps = n; return nil },
	})
	if err != nil {
		return p, err
	}
	if steps == nil {
		return p, d.at(root, "no steps")
	}
	if p.Steps, err = d.steps(steps, p.Seed); err != nil {
		return p, err
	}
	return p, d.fit(steps, &p)
}

// fit gives the plan its time, or refuses steps that start after it.
func (d *reader) fit(steps *yaml.Node, p *nemesis.Plan) error {
	for i, s := range p.Steps {
		if p.Time > 0 && s.At+s.For > p.Time {
			return d.at(steps.Content[i], "%s ends after %v, but the plan is for %v", s.ID, s.At+s.For, p.Time)
		}
	}
	if p.Time == 0 {
		for _, s := range p.Steps {
			p.Time = max(p.Time, s.At+s.For)
		}
	}
	slices.SortStableFunc(p.Steps, func(a, b nemesis.Step) int { return int(min(1, max(-1, a.At-b.At))) })
	return nil
}

func (d *reader) steps(n *yaml.Node, seed uint64) ([]nemesis.Step, error) {
	if n.Kind != yaml.SequenceNode {
		return nil, d.at(n, "expected a list of steps")
	}
	if len(n.Content) > nemesis.StepsMax {
		return nil, d.at(n, "%d steps; at most %d are possible", len(n.Content), nemesis.StepsMax)
	}
	steps := []nemesis.Step{}
	for _, c := range n.Content {
		s, err := d.step(c, seed)
		if err != nil {
			return nil, err
		}
		steps = append(steps, s)
	}
	return steps, nil
}

func (d *reader) step(n *yaml.Node, seed uint64) (nemesis.Step, error) {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	var s nemesis.Step
	at := map[string]*yaml.Node{}
	text := func(name string, to *string) func(*yaml.Node) error {
		return func(n *yaml.Node) error { at[name] = n; return d.text(n, to) }
	}
	seeded := false
	err := d.fields(n, "a step", map[string]func(*yaml.Node) error{
		"id": text("id", &s.ID), "fault": text("fault", &s.Fault), "arg": text("arg", &s.Arg),
		"at":      func(n *yaml.Node) error { return d.duration(n, &s.At) },
		"for":     func(n *yaml.Node) error { at["for"] = n; return d.duration(n, &s.For) },
		"targets": func(n *yaml.Node) error { return d.targets(n, &s.Targets) },
		"opts":    func(n *yaml.Node) error { at["opts"] = n; return d.opts(n, &s.Opts) },
		"seed":    func(n *yaml.Node) error { seeded = true; return d.number(n, &s.Seed) },
		"done":    func(*yaml.Node) error { return nil },
	})
	if err != nil {
		return s, err
	}
	if err := d.complete(n, &s, at); err != nil {
		return s, err
	}
	if !seeded {
		h := fnv.New64a()
		_, _ = fmt.Fprintf(h, "%d %s", seed, s.ID)
		s.Seed = h.Sum64() >> 11
	}
	return s, nil
}

// complete fills in what is missing and checks the whole.
func (d *reader) complete(n *yaml.Node, s *nemesis.Step, at map[string]*yaml.Node) error {
	if at["fault"] == nil {
		return d.at(n, "the step names no fault")
	}
	if at["for"] == nil {
		return d.at(n, "the step does not say for how long")
	}
	if name, arg, ok := strings.Cut(s.Fault, ":"); ok {
		if at["arg"] != nil {
			return d.at(at["arg"], "the fault %q has an argument already", s.Fault)
		}
		s.Fault, s.Arg = name, arg
	}
	d.counts[s.Fault]++
	if s.ID == "" {
		s.ID = s.Fault + "-" + strconv.Itoa(d.counts[s.Fault])
	}
	if d.ids[s.ID] {
		return d.at(n, "two steps have the id %s", s.ID)
	}
	d.ids[s.ID] = true
	opts, err := s.Check(d.faults, d.nodes)
	if err != nil {
		where := at["fault"]
		if at["opts"] != nil && strings.Contains(err.Error(), "option") {
			where = at["opts"]
		}
		return d.at(where, "%w", err)
	}
	s.Opts = opts
	return nil
}

func (d *reader) text(n *yaml.Node, to *string) error {
	if n.Kind != yaml.ScalarNode || n.Value == "" {
		return d.at(n, "expected a word")
	}
	*to = n.Value
	return nil
}

func (d *reader) number(n *yaml.Node, to *uint64) error {
	v, err := strconv.ParseUint(n.Value, 0, 64)
	if n.Kind != yaml.ScalarNode || err != nil {
		return d.at(n, "expected a whole number, not %q", n.Value)
	}
	*to = v
	return nil
}

func (d *reader) duration(n *yaml.Node, to *time.Duration) error {
	v, err := time.ParseDuration(n.Value)
	if n.Kind != yaml.ScalarNode || err != nil || v < 0 {
		return d.at(n, "expected a duration like 500ms or 2s, not %q", n.Value)
	}
	*to = v
	return nil
}

func (d *reader) targets(n *yaml.Node, to *[]string) error {
	if n.Kind != yaml.SequenceNode {
		return d.at(n, "expected a list of nodes, like [n1, n2]")
	}
	for _, c := range n.Content {
		if !slices.Contains(d.nodes, c.Value) {
			return d.at(c, "%q is no node; there are: %s", c.Value, strings.Join(d.nodes, ", "))
		}
		*to = append(*to, c.Value)
	}
	return nil
}

func (d *reader) opts(n *yaml.Node, to *map[string]string) error {
	if n.Kind != yaml.MappingNode {
		return d.at(n, "expected options as key: value pairs")
	}
	*to = map[string]string{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i+1].Kind != yaml.ScalarNode {
			return d.at(n.Content[i+1], "expected a single value")
		}
		(*to)[n.Content[i].Value] = n.Content[i+1].Value
	}
	return nil
}
