package nemesis

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"
)

// planJSON and stepJSON are how plans are written: durations as people write them.
type planJSON struct {
	Format int      `json:"format"`
	Seed   uint64   `json:"seed"`
	Time   duration `json:"time"`
	Steps  []Step   `json:"steps"`
}

type stepJSON struct {
	ID      string            `json:"id"`
	Fault   string            `json:"fault"`
	Arg     string            `json:"arg,omitempty"`
	At      duration          `json:"at"`
	For     duration          `json:"for"`
	Targets []string          `json:"targets,omitempty"`
	Opts    map[string]string `json:"opts,omitempty"`
	Seed    uint64            `json:"seed"`
	Done    *Report           `json:"done,omitempty"`
}

// duration is a time.Duration whose text is "2.5s".
type duration time.Duration

// MarshalText implements encoding.TextMarshaler.
func (d duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *duration) UnmarshalText(b []byte) error {
	v, err := time.ParseDuration(string(b))
	*d = duration(v)
	return err
}

// MarshalJSON implements json.Marshaler.
func (p Plan) MarshalJSON() ([]byte, error) {
	steps := p.Steps
	if steps == nil {
		steps = []Step{}
	}
	return json.Marshal(planJSON{p.Format, p.Seed, duration(p.Time), steps})
}

// UnmarshalJSON implements json.Unmarshaler; unknown fields are errors. Package
// planfile reads what people write, with better errors.
func (p *Plan) UnmarshalJSON(b []byte) error {
	var j planJSON
	if err := strict(b, &j); err != nil {
		return fmt.Errorf("nemesis: a plan: %w", err)
	}
	if j.Format != 1 {
		return fmt.Errorf("nemesis: a plan of format %d; this version reads format 1", j.Format)
	}
	*p = Plan{j.Format, j.Seed, time.Duration(j.Time), j.Steps}
	return nil
}

// MarshalJSON implements json.Marshaler.
func (s Step) MarshalJSON() ([]byte, error) {
	return json.Marshal(stepJSON{s.ID, s.Fault, s.Arg, duration(s.At), duration(s.For), s.Targets, s.Opts, s.Seed, s.Done})
}

// UnmarshalJSON implements json.Unmarshaler.
func (s *Step) UnmarshalJSON(b []byte) error {
	var j stepJSON
	if err := strict(b, &j); err != nil {
		return err
	}
	*s = Step{j.ID, j.Fault, j.Arg, time.Duration(j.At), time.Duration(j.For), j.Targets, j.Opts, j.Seed, j.Done}
	return nil
}

func strict(b []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	return d.Decode(v)
}
