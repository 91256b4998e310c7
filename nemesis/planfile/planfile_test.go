package planfile_test

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/faultline-dev/faultline/nemesis"
	"github.com/faultline-dev/faultline/nemesis/all"
	"github.com/faultline-dev/faultline/nemesis/planfile"
)

func read(name, text string) (nemesis.Plan, error) {
	return planfile.Read(name, strings.NewReader(text), all.All(), []string{"n1", "n2", "n3"})
}

const example = `# a plan
time: 20s
seed: 7
steps:
  - {fault: kill, targets: [n1, n2], at: 6s, for: 2s, opts: {keep: majority}}
  - fault: partition:leader
    at: 2s
    for: 3s
  - fault: partition
    id: mine
    arg: n1+n2|n3
    at: 2.5s
    for: 500ms
    seed: 0x10
`

func TestRead(t *testing.T) {
	p, err := read("p.yaml", example)
	if err != nil {
		t.Fatal(err)
	}
	if p.Time != 20*time.Second || p.Seed != 7 || len(p.Steps) != 3 {
		t.Errorf("%+v", p)
	}
	a, b, c := p.Steps[0], p.Steps[1], p.Steps[2]
	if a.ID != "partition-1" || a.Arg != "leader" || a.Seed == 0 || a.At != 2*time.Second || a.Opts["way"] != "any" {
		t.Errorf("%+v", a)
	}
	if b.ID != "mine" || b.Arg != "n1+n2|n3" || b.Seed != 16 || b.For != 500*time.Millisecond {
		t.Errorf("%+v", b)
	}
	if c.ID != "kill-1" || len(c.Targets) != 2 || c.Opts["keep"] != "majority" {
		t.Errorf("%+v", c)
	}
}

// TestRecorded: a plan that was written reads back as it was, indented or not.
func TestRecorded(t *testing.T) {
	p, err := read("p.yaml", example)
	if err != nil {
		t.Fatal(err)
	}
	p.Steps[0].Done = &nemesis.Report{ID: "partition-1", Targets: []string{"n1"}, Bit: true, Evidence: map[string]any{"x": []any{1}}}
	for _, indent := range []string{"", "  ", "\t"} {
		b, err := json.MarshalIndent(p, "", indent)
		if err != nil {
			t.Fatal(err)
		}
		q, err := read("plan.json", string(b))
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(q, p.Planned()) {
			t.Errorf("got  %+v\nwant %+v", q, p.Planned())
		}
	}
}

func TestErrors(t *testing.T) {
	for _, tc := range []struct{ name, text, want string }{
		{"p.yaml", "", "p.yaml:1:1: the file is empty"},
		{"p.yaml", "steps: [\n", "p.yaml:1:1: did not find"},
		{"p.yaml", "steps:\n- fault: kill\n   at: 1s\n", "p.yaml:3:1"},
		{"p.json", "{\n  \"steps\": [}\n", "p.json:2:13: invalid character '}'"},
		{"p.yaml", "a: 1\n", `p.yaml:1:1: unknown field "a" of a plan; there are: format, seed, steps, time`},
		{"p.yaml", "time: 3\nsteps: []\n", "p.yaml:1:7: expected a duration"},
		{"p.yaml", "seed: x\n", "p.yaml:1:7: expected a whole number"},
		{"p.yaml", "format: 2\n", "p.yaml:1:9: format 2"},
		{"p.yaml", "time: 3s\n", "p.yaml:1:1: no steps"},
		{"p.yaml", "steps: 3\n", "p.yaml:1:8: expected a list"},
		{"p.yaml", "steps: []\n---\nsteps: []\n", "a second document"},
		{"p.yaml", "steps:\n- at: 1s\n", "p.yaml:2:3: the step names no fault"},
		{"p.yaml", "steps:\n- fault: kill\n", "p.yaml:2:3: the step does not say for how long"},
		{"p.yaml", "steps:\n- fault: kil\n  for: 1s\n", `p.yaml:2:10: nemesis: unknown fault "kil"`},
		{"p.yaml", "steps:\n- fault: kill\n  for: 1s\n  for: 2s\n", "p.yaml:4:3: for comes twice"},
		{"p.yaml", "steps:\n- fault: kill:one\n  for: 1s\n  arg: one\n", "p.yaml:4:8: the fault \"kill:one\" has an argument already"},
		{"p.yaml", "steps:\n- {fault: kill, for: 1s, opts: {keep: x}}\n", "p.yaml:2:32: option keep=x: expected one of"},
		{"p.yaml", "steps:\n- {fault: kill, for: 1s, targets: [n1, n4]}\n", `p.yaml:2:40: "n4" is no node`},
		{"p.yaml", "steps:\n- {fault: kill, for: 1s, id: a}\n- {fault: kill, for: 1s, id: a}\n", "p.yaml:3:3: two steps have the id a"},
		{"p.yaml", "time: 2s\nsteps:\n- {fault: kill, at: 1s, for: 2s}\n", "p.yaml:3:3: kill-1 ends after 3s, but the plan is for 2s"},
		{"p.yaml", "steps:\n- {fault: kill, for: 0s}\n", "p.yaml:2:11: it starts at 0s and lasts 0s"},
	} {
		_, err := read(tc.name, tc.text)
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%q: %v; want %q", tc.text, err, tc.want)
		}
	}
}

func FuzzRead(f *testing.F) {
	f.Add(example)
	f.Add(`{"format":1,"steps":[{"fault":"kill","for":"1s"}]}`)
	f.Fuzz(func(t *testing.T, text string) {
		p, err := read("p.yaml", text)
		if err != nil {
			return
		}
		b, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		q, err := read("p.json", string(b))
		if err != nil || !reflect.DeepEqual(p, q) {
			t.Errorf("%q does not round-trip: %v\n%+v\n%+v", text, err, p, q)
		}
	})
}
