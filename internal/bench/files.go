package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/faultline-dev/faultline/checker"
	"github.com/faultline-dev/faultline/checker/linear"
	"github.com/faultline-dev/faultline/checker/model"
	"github.com/faultline-dev/faultline/checker/synth"
	"github.com/faultline-dev/faultline/history"
)

// fileRows run the command itself, on files.
func fileRows() []row {
	var rs []row
	for _, k := range kinds() {
		for _, info := range []float64{0, 0.01} {
			s := of(k.spec, linear.Auto, 1_000_000, 8, 1, info, "")
			rs = append(rs, row{"file: faultline check, " + s.String(), func(o options) (line, error) {
				return command(o, s, 1, promise{seconds: 3, megabytes: 500}, "check", "--model", s.spec)
			}})
		}
	}
	for _, spec := range []string{"register", "cas-register"} {
		for _, info := range []float64{0, 0.01} {
			for _, anomaly := range []string{"", "stale-read"} {
				s := of(spec, linear.Auto, 1_000_000, 8, 100, info, anomaly)
				rs = append(rs, row{"ladder: faultline check --ladder, " + s.String(), func(o options) (line, error) {
					return command(o, s, 1, promise{seconds: 15, megabytes: 2000}, "check", "--ladder")
				}})
			}
		}
	}
	for _, spec := range []string{"register", "cas-register", "kv"} {
		s := of(spec, linear.Auto, 50, 5, 1, 0, "")
		rs = append(rs, row{"batch: faultline check, 10000 files of " + s.String(), func(o options) (line, error) {
			return command(o, s, 10_000, promise{seconds: 1}, "check")
		}})
	}
	return rs
}

// promise is what a command may take; 0 stands for no limit.
type promise struct{ seconds, megabytes float64 }

// command writes files, runs the command on all of them and measures it.
func command(o options, s subject, files int, p promise, args ...string) (line, error) {
	if o.binary == "" {
		return line{skipped: "no -faultline"}, nil
	}
	binary, err := filepath.Abs(o.binary)
	if err != nil {
		return line{}, err
	}
	dir, err := os.MkdirTemp(o.dir, "files")
	if err != nil {
		return line{}, err
	}
	defer func() { _ = os.RemoveAll(dir) }() // main removes what is left
	for i := range files {
		s.Seed = uint64(i + 1) //nolint:gosec // a small number
		name := fmt.Sprintf("%d.jsonl", i)
		if err = write(filepath.Join(dir, name), s.Options); err != nil {
			return line{}, err
		}
		args = append(args, name)
	}
	var times []time.Duration
	most := 0.0
	var out []byte
	for range 3 {
		cmd := exec.CommandContext(context.Background(), binary, args...)
		cmd.Dir = dir
		start := time.Now()
		out, err = cmd.Output()
		took := time.Since(start)
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) {
			return line{}, err
		}
		if o.cpu {
			took = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
		}
		times = append(times, took)
		if u, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
			most = max(most, float64(u.Maxrss)/1024)
		}
	}
	want, found := checker.Valid, bytes.Count(out, []byte("\tvalid\t"))
	if s.Anomaly != "" {
		want, found = checker.Invalid, bytes.Count(out, []byte("\tinvalid\t"))
	}
	took := median(times)
	total := float64(files * s.Ops)
	l := line{engine: fmt.Sprintf("%d %v", found, want), ns: float64(took) / total, got: fmt.Sprintf("%.2f s", took.Seconds()), peer: fmt.Sprintf("%.0f MB", most)}
	l.asked = fmt.Sprintf("<= %.0f s", p.seconds)
	if files > 1 {
		l.got, l.asked = fmt.Sprintf("%.0f/s", float64(files)/took.Seconds()), fmt.Sprintf(">= %.0f/s", float64(files)/p.seconds)
	}
	if took.Seconds() > p.seconds {
		l.failed = append(l.failed, "time")
	}
	if p.megabytes > 0 {
		l.asked += fmt.Sprintf(", %.0f MB", p.megabytes)
		if most > p.megabytes {
			l.failed = append(l.failed, "memory")
		}
	}
	if found != files {
		l.failed = append(l.failed, "verdict")
	}
	return l, nil
}

func write(path string, o synth.Options) error {
	events, err := synth.Events(o)
	if err != nil {
		return err
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	w := history.NewWriter(f)
	for op := range events {
		if err = w.Write(op); err != nil {
			break
		}
	}
	return first(err, w.Close(), f.Close())
}

// corpusRow compares the search with Porcupine on the histories that come with
// its module.
func corpusRow() row {
	return row{"search: Jepsen's etcd logs and key-value logs in Porcupine's module", func(o options) (line, error) {
		out, err := exec.CommandContext(context.Background(), "go", "list", "-m", "-f", "{{.Dir}}", "github.com/anishathalye/porcupine").Output()
		dir := strings.TrimSpace(string(out))
		if err != nil {
			return line{}, err
		}
		c := corpus{o: o}
		for _, pattern := range []string{"test_data/jepsen/*.log", "test_data/kv/*.txt"} {
			paths, err := filepath.Glob(filepath.Join(dir, pattern))
			if err != nil {
				return line{}, err
			}
			for _, path := range paths {
				if err := c.add(path); err != nil {
					return line{}, err
				}
			}
		}
		return c.line(), nil
	}}
}

type corpus struct {
	o            options
	ops, files   int
	ours, theirs []func()
	bad          []string
}

func (c *corpus) add(path string) error {
	if !regexp.MustCompile(`(etcd_\d+\.log|c\d+-(ok|bad)\.txt)$`).MatchString(path) {
		return nil
	}
	if fi, err := os.Stat(path); err != nil || fi.Size() == 0 { // one log is empty
		return err
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	h, format, err := history.Decode(f, path, "auto")
	if err != nil {
		return err
	}
	spec, err := model.Guess(h)
	if err != nil {
		return err
	}
	if format == "jepsen-log" {
		spec = model.ExcludingRegister()
	}
	p, err := newPeer(h, spec)
	if err != nil {
		return err
	}
	s := subject{spec: spec.Name, engine: linear.Search}
	said, _ := p.check(c.o)
	got := s.check(h, spec)
	if (got.Verdict == checker.Valid) != (said == porcupine.Ok) {
		c.bad = append(c.bad, filepath.Base(path))
	}
	c.ours = append(c.ours, func() { s.check(h, spec) })
	c.theirs = append(c.theirs, func() { p.check(c.o) })
	c.ops += h.Len()
	c.files++
	return nil
}

func (c *corpus) line() line {
	all := func(checks []func()) func() time.Duration {
		return func() time.Duration {
			return c.o.timed(func() {
				for _, check := range checks {
					check()
				}
			})
		}
	}
	ours, theirs, ratio := c.o.contest(all(c.ours), all(c.theirs), turns)
	l := line{
		engine: fmt.Sprintf("%d histories", c.files), ns: float64(ours) / float64(c.ops), peer: short(theirs),
		got: fmt.Sprintf("%.1f", ratio), asked: ">= 3", failed: c.bad,
	}
	if ratio < 3 {
		l.failed = append(l.failed, "time")
	}
	return l
}
