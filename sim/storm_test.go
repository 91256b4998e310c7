package sim_test

import (
	"testing"
	"time"

	"github.com/faultline-dev/faultline/sim"
	"github.com/faultline-dev/faultline/stores/replica"
)

// echo answers each frame with two, from the first tick on.
type echo struct {
	replica.Replica

	other string
	out   replica.Output
	begun bool
}

func (e *echo) Tick(time.Duration) {
	if !e.begun {
		e.begun = true
		e.Receive([]byte("again"))
	}
}

func (e *echo) SetClock(time.Duration) {}

func (e *echo) Receive(b []byte) {
	f := replica.Frame{To: e.other, Payload: b}
	e.out.Frames = append(e.out.Frames, f, f)
}

func (e *echo) Output() replica.Output {
	out := e.out
	e.out = replica.Output{}
	return out
}

func (e *echo) Status() replica.Status { return replica.Status{} }

// TestStormEnds: messages that beget ever more messages end the run, as a violation
// of its own, long before time would have passed.
func TestStormEnds(t *testing.T) {
	w := sim.New(sim.Config{Names: names(2), Seed: 1, System: sim.System{
		Name: "echo",
		Boot: func(b sim.Boot) (replica.Replica, error) {
			return &echo{other: map[string]string{"n1": "n2", "n2": "n1"}[b.Name]}, nil
		},
	}})
	if err := w.Up(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := w.Sleep(t.Context(), time.Hour); err != nil {
		t.Fatal(err)
	}
	v := w.Violations()
	if len(v) != 1 || v[0].Name != "runaway" || w.Events() > 1_000_000 {
		t.Errorf("after %d events: %v", w.Events(), v)
	}
	if err := w.Start(t.Context(), "n1"); err == nil {
		t.Error("a node starts after the storm")
	}
}
