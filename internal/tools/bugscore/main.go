// Command bugscore measures how soon each bug of the bundled stores' catalogues is
// found, and fails if one is lost: not found, or not by an anomaly that it is
// expected to show. In the simulator it looks from several starting points, which is
// `make bugs`; with real processes it tries one run after the other for a minute,
// which is `make bugs-local`.
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/faultline-dev/faultline/cmd/faultline/command"
	"github.com/faultline-dev/faultline/internal/exit"
)

const (
	// slowAfter is the wall time, on two free cores, in which the simulator must find
	// a bug; slowMost is how many may take longer.
	slowAfter = 10 * time.Second
	slowMost  = 3
	// localTime is how long real processes are given for each bug, and localLeast how
	// many of the bugs they must find.
	localTime  = time.Minute
	localLeast = 8
	// localRate is in operations a second, so that a busy machine can follow.
	localRate = "300"
)

// bug is an entry of `faultline list bugs --json`.
type bug struct {
	Name     string   `json:"name"`
	System   string   `json:"system"`
	Workload string   `json:"workload"`
	Expects  []string `json:"expects"`
	Doc      string   `json:"doc"`
	Rule     string   `json:"rule"`
}

func (b bug) String() string { return b.System + "/" + b.Name }

// score is how one bug was found.
type score struct {
	found     bool
	seeds     int
	simulated time.Duration
	wall      time.Duration
	anomalies []string
}

// options are the flags.
type options struct {
	ranges int
	most   int
	only   string
	page   string
	local  bool
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == "node" { // a local run starts its own executable
		os.Exit(command.Main(os.Args[1:], command.Default())) //nolint:forbidigo // this is a main
	}
	var o options
	flag.IntVar(&o.ranges, "ranges", 5, "starting points for each bug")
	flag.IntVar(&o.most, "most", 1000, "seeds to try from each")
	flag.StringVar(&o.only, "only", "", "only bugs whose system/name holds this")
	flag.StringVar(&o.page, "markdown", "", "write what was found into this page of the documentation")
	flag.BoolVar(&o.local, "local", false, "look with real processes on this machine")
	flag.Parse()
	if err := run(os.Stdout, o); err != nil {
		fmt.Fprintln(os.Stderr, "bugscore:", err)
		os.Exit(1) //nolint:forbidigo // this is a main
	}
}

func run(w io.Writer, o options) error {
	bugs, err := catalogue()
	if err != nil {
		return err
	}
	bugs = slices.DeleteFunc(bugs, func(b bug) bool { return !strings.Contains(b.String(), o.only) })
	runs, err := os.MkdirTemp("", "bugscore-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(runs) }()
	look, judge := simulated, judgeSimulated
	if o.local {
		look, judge = local, judgeLocal
	}
	fmt.Fprintf(w, "%-30s %6s %12s %10s  %s\n", "bug", "seeds", "simulated", "wall", "anomaly")
	scores := map[string]score{}
	for _, b := range bugs {
		s, err := look(b, o, runs)
		if err != nil {
			return fmt.Errorf("%s cannot be looked for: %w", b, err)
		}
		scores[b.String()] = s
		fmt.Fprintln(w, s.line(b))
	}
	if o.page != "" {
		if err := writePage(o, scores); err != nil {
			return err
		}
	}
	return judge(w, o, bugs, scores)
}

// line is a row of the table.
func (s score) line(b bug) string {
	wall := s.wall.Round(time.Millisecond)
	switch {
	case !s.found && len(s.anomalies) > 0:
		return fmt.Sprintf("%-30s %6s %12s %10s  not by what it is expected to show, but by %s", b, "-", "-", wall, strings.Join(s.anomalies, ", "))
	case !s.found:
		return fmt.Sprintf("%-30s %6s %12s %10s  not found", b, "-", "-", wall)
	}
	return fmt.Sprintf("%-30s %6d %12s %10s  %s", b, s.seeds, s.simulated.Round(time.Second), wall, strings.Join(s.anomalies, ", "))
}

// judgeSimulated wants every bug, and nearly all of them soon.
func judgeSimulated(w io.Writer, _ options, bugs []bug, scores map[string]score) error {
	var lost, slow []string
	for _, b := range bugs {
		switch s := scores[b.String()]; {
		case !s.found:
			lost = append(lost, b.String())
		case s.wall > slowAfter:
			slow = append(slow, b.String())
		}
	}
	fmt.Fprintf(w, "\n%d of %d bugs found, %d within %v of wall time\n", len(bugs)-len(lost), len(bugs), len(bugs)-len(lost)-len(slow), slowAfter)
	switch {
	case len(lost) > 0:
		return fmt.Errorf("%d bugs are lost: %s", len(lost), strings.Join(lost, ", "))
	case len(slow) > slowMost:
		return fmt.Errorf("%d bugs take more than %v, at most %d may: %s", len(slow), slowAfter, slowMost, strings.Join(slow, ", "))
	}
	return nil
}

// judgeLocal wants some of the bugs: a machine that shows all would be luck.
func judgeLocal(w io.Writer, o options, bugs []bug, scores map[string]score) error {
	found := 0
	for _, s := range scores { // only counted: the order doesn't matter
		if s.found {
			found++
		}
	}
	fmt.Fprintf(w, "\n%d of %d bugs found by real processes within %v each\n", found, len(bugs), localTime)
	if found < min(localLeast, len(bugs)) || o.only != "" && found < len(bugs) {
		return fmt.Errorf("only %d bugs were found", found)
	}
	return nil
}

// faultline runs a command in this process, and returns what it prints.
func faultline(args ...string) (stdout []byte, code int, err error) {
	var out, errs bytes.Buffer
	env := command.Default()
	env.Stdout, env.Stderr, env.Terminal = &out, &errs, false
	code = command.Main(args, env)
	if code == exit.Usage || code == exit.Broken {
		err = fmt.Errorf("faultline %s: exit %d: %s", strings.Join(args, " "), code, strings.TrimSpace(errs.String()))
	}
	return out.Bytes(), code, err
}

// catalogue lists all bugs.
func catalogue() ([]bug, error) {
	var bugs []bug
	out, _, err := faultline("list", "bugs", "--json")
	if err == nil {
		err = json.Unmarshal(out, &bugs)
	}
	if err == nil && len(bugs) == 0 {
		err = errors.New("there are no bugs")
	}
	return bugs, err
}

// simulated is the median score over the starting points; it counts as found only if
// it is found from every one.
func simulated(b bug, o options, runs string) (score, error) {
	var all []score
	for i := range o.ranges {
		s, err := sweep(b, uint64(1+i*100_000), o.most, runs) //nolint:gosec // small
		if err != nil || !s.found {
			return s, err
		}
		all = append(all, s)
	}
	wall := func(a, b score) int { return int(a.wall - b.wall) }
	middle := slices.SortedFunc(slices.Values(all), wall)[len(all)/2].wall
	s := slices.SortedFunc(slices.Values(all), func(a, b score) int { return a.seeds - b.seeds })[len(all)/2]
	s.wall = middle
	return s, nil
}

// sweep looks from one starting point.
func sweep(b bug, from uint64, most int, runs string) (score, error) {
	last := from + uint64(most) - 1 //nolint:gosec // positive
	out, _, err := faultline("run", "--system", b.System, "--bug", b.Name, "--on", "sim", "--json", "--quiet", "--runs", runs,
		"--seeds", strconv.FormatUint(from, 10)+".."+strconv.FormatUint(last, 10))
	if err != nil {
		return score{}, err
	}
	var got struct {
		Failed []struct {
			Seed      uint64   `json:"seed"`
			Anomalies []string `json:"anomalies"`
		} `json:"failed"`
		Simulated time.Duration `json:"simulated_ns"`
		Duration  time.Duration `json:"duration_ns"`
	}
	if err := json.Unmarshal(out, &got); err != nil {
		return score{}, err
	}
	s := score{simulated: got.Simulated, wall: got.Duration}
	if len(got.Failed) > 0 {
		f := got.Failed[0]
		s.found, s.seeds, s.anomalies = fits(b, f.Anomalies), int(f.Seed-from)+1, f.Anomalies //nolint:gosec // small
	}
	return s, nil
}

// local runs real processes, one run after the other, until the bug shows or its time
// is over.
func local(b bug, _ options, runs string) (s score, err error) {
	start := time.Now()
	for s.wall < localTime {
		s.seeds++
		var got struct {
			Anomalies []struct {
				Name string `json:"name"`
			} `json:"anomalies"`
		}
		out, code, err := faultline("run", "--system", b.System, "--bug", b.Name, "--on", "local", "--json", "--quiet", "--runs", runs,
			"--interval", "2s", "--rate", localRate, "--seed", strconv.Itoa(s.seeds))
		if code == exit.Usage && strings.Contains(err.Error(), "is not possible here") {
			return s, nil // its faults need another world
		}
		if err == nil {
			err = json.Unmarshal(out, &got)
		}
		if err != nil {
			return s, err
		}
		s.wall = time.Since(start)
		if code != exit.Anomalies {
			continue
		}
		for _, a := range got.Anomalies {
			if !slices.Contains(s.anomalies, a.Name) {
				s.anomalies = append(s.anomalies, a.Name)
			}
		}
		s.found = fits(b, s.anomalies) && s.wall <= localTime
		return s, nil
	}
	return s, nil
}

// fits tells whether the anomalies have one that the bug is expected to show, or a
// broken invariant of the protocol.
func fits(b bug, anomalies []string) bool {
	invariants := []string{"election-safety", "log-matching", "leader-completeness", "state-machine-safety", "agreement"}
	return slices.ContainsFunc(anomalies, func(a string) bool {
		return slices.Contains(b.Expects, a) || slices.Contains(invariants, a)
	})
}
