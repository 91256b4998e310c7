package reports

import (
	"encoding/json"
	"time"
)

// Test is test.json: everything that was asked of a run, and of what it was made.
type Test struct {
	Format      int               `json:"format"`
	System      string            `json:"system"`
	Version     string            `json:"version"`
	Image       string            `json:"image,omitempty"`
	Bug         string            `json:"bug,omitempty"`
	Workload    string            `json:"workload"`
	Nemesis     []string          `json:"nemesis"`
	On          string            `json:"on"`
	Seed        uint64            `json:"seed"`
	Time        time.Duration     `json:"time_ns"`
	Interval    time.Duration     `json:"interval_ns,omitempty"`
	Nodes       []string          `json:"nodes"`
	Concurrency int               `json:"concurrency"`
	Keys        int               `json:"keys"`
	Rate        float64           `json:"rate"` // operations a second, 0 for as many as possible
	Options     map[string]string `json:"options"`
	Plan        string            `json:"plan,omitempty"` // the file that was asked for
	Check       CheckBudget       `json:"check"`
	// Model is the name under which `faultline check --model` judges the same.
	Model string `json:"model,omitempty"`
	// Argv is the command line as given, without the program.
	Argv []string `json:"argv"`
	// Started is the wall clock at the history's time zero.
	Started   time.Time `json:"started,omitzero"`
	Faultline Build     `json:"faultline"`
	Host      Host      `json:"host"`
	// Versions are those of what else took part: engine, driver, image, ...
	Versions map[string]string `json:"versions,omitempty"`
}

// CheckBudget is what each checker was allowed to use.
type CheckBudget struct {
	Timeout time.Duration `json:"timeout_ns"`
	Memory  int64         `json:"memory_bytes"`
}

// Build is the faultline that ran the test.
type Build struct {
	Version string `json:"version"`
	Commit  string `json:"commit"`
	Go      string `json:"go"`
}

// Host is the machine that ran the test.
type Host struct {
	OS     string `json:"os"`
	Arch   string `json:"arch"`
	CPUs   int    `json:"cpus"`
	Kernel string `json:"kernel,omitempty"`
}

// Encode is t as test.json.
func (t Test) Encode() ([]byte, error) {
	t.Format = Format
	t.Nemesis, t.Nodes, t.Argv = filled(t.Nemesis), filled(t.Nodes), filled(t.Argv)
	if t.Options == nil {
		t.Options = map[string]string{}
	}
	b, err := json.MarshalIndent(t, "", "  ")
	return append(b, '\n'), err
}

// DecodeTest reads a test.json strictly.
func DecodeTest(b []byte) (Test, error) {
	var t Test
	return t, decode(b, &t, func() int { return t.Format })
}
