// Command bugscore measures how soon the simulator finds each bug of the bundled
// stores' catalogues, from several starting points, and fails if one is not found,
// or not by an anomaly that it is expected to show. It is `make bugs`.
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

// bug is an entry of `faultline list bugs --json`.
type bug struct {
	Name     string   `json:"name"`
	System   string   `json:"system"`
	Workload string   `json:"workload"`
	Expects  []string `json:"expects"`
	Doc      string   `json:"doc"`
	Rule     string   `json:"rule"`
}

// sweep is what `faultline run --seeds --json` prints.
type sweep struct {
	Seeds  int `json:"seeds"`
	Failed []struct {
		Seed      uint64   `json:"seed"`
		Anomalies []string `json:"anomalies"`
	} `json:"failed"`
	Simulated time.Duration `json:"simulated_ns"`
	Duration  time.Duration `json:"duration_ns"`
}

// score is how one bug was found from one starting point.
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
	json   string
	doc    string
}

func main() {
	var o options
	flag.IntVar(&o.ranges, "ranges", 5, "starting points for each bug")
	flag.IntVar(&o.most, "most", 1000, "seeds to try from each")
	flag.StringVar(&o.only, "only", "", "only bugs whose system/name holds this")
	flag.StringVar(&o.json, "json", "", "write the scores to this file too")
	flag.StringVar(&o.doc, "markdown", "", "write the table of the documentation to this file")
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
	runs, err := os.MkdirTemp("", "bugscore-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(runs) }()
	fmt.Fprintf(w, "%-30s %6s %12s %10s  %s\n", "bug", "seeds", "simulated", "wall", "anomaly")
	var lost []string
	var rows []map[string]any
	seeds := map[string]string{}
	for _, b := range bugs {
		if !strings.Contains(b.System+"/"+b.Name, o.only) {
			continue
		}
		s, err := median(b, o, runs)
		if err != nil {
			lost = append(lost, b.System+"/"+b.Name)
			fmt.Fprintf(w, "%-30s cannot be looked for: %v\n", b.System+"/"+b.Name, err)
			continue
		}
		if !s.found {
			lost = append(lost, b.System+"/"+b.Name)
			fmt.Fprintf(w, "%-30s %6s %12s %10s  not found in %d seeds; other anomalies: %v\n", b.System+"/"+b.Name, "-", "-", s.wall.Round(time.Millisecond), o.most, s.anomalies)
			continue
		}
		fmt.Fprintf(w, "%-30s %6d %12s %10s  %s\n", b.System+"/"+b.Name, s.seeds, s.simulated.Round(time.Second), s.wall.Round(time.Millisecond), strings.Join(s.anomalies, ", "))
		seeds[b.System+"/"+b.Name] = fmt.Sprintf("%d (%s)", s.seeds, strings.Join(s.anomalies, ", "))
		rows = append(rows, map[string]any{
			"system": b.System, "name": b.Name, "seeds": s.seeds, "simulated_ns": s.simulated, "wall_ns": s.wall, "anomalies": s.anomalies,
		})
	}
	if o.json != "" {
		text, err := json.MarshalIndent(rows, "", "  ")
		if err == nil {
			err = os.WriteFile(o.json, append(text, '\n'), 0o644) //nolint:gosec // for everyone to read
		}
		if err != nil {
			return err
		}
	}
	if o.doc != "" {
		if err := os.WriteFile(o.doc, []byte(markdown(bugs, seeds)), 0o644); err != nil { //nolint:gosec // for everyone to read
			return err
		}
	}
	if len(lost) > 0 {
		return fmt.Errorf("%d bugs are lost: %s", len(lost), strings.Join(lost, ", "))
	}
	return nil
}

// markdown is the table of the documentation.
func markdown(bugs []bug, seeds map[string]string) string {
	var b strings.Builder
	b.WriteString("# The bug catalogue\n\n" +
		"Each bug is a switch of a bundled store (`--bug NAME`) that breaks one rule of its protocol. The harness must\n" +
		"find every one by what it is expected to show, or by a broken invariant; with none on it must find nothing.\n" +
		"Seeds is how many simulated runs of 10 s it took, the median of several starting points, and what showed.\n" +
		"This page is written by `go run ./internal/tools/bugscore -markdown docs/bugs.md`.\n")
	system := ""
	for _, x := range bugs {
		if x.System != system {
			system = x.System
			fmt.Fprintf(&b, "\n## %s\n\n| bug | what is wrong | the rule it breaks | workload | seeds |\n|---|---|---|---|---|\n", system)
		}
		found := seeds[x.System+"/"+x.Name]
		if found == "" {
			found = "not found by the simulator"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s |\n", x.Name, x.Doc, x.Rule, x.Workload, found)
	}
	return b.String()
}

// faultline runs a command in this process.
func faultline(args ...string) ([]byte, error) {
	var stdout, stderr bytes.Buffer
	env := command.Default()
	env.Stdout, env.Stderr, env.Terminal = &stdout, &stderr, false
	var err error
	code := command.Main(args, env)
	if code == exit.Usage || code == exit.Broken {
		err = fmt.Errorf("faultline %s: exit %d: %s", strings.Join(args, " "), code, strings.TrimSpace(stderr.String()))
	}
	return stdout.Bytes(), err
}

// catalogue lists the bugs whose workload exists.
func catalogue() ([]bug, error) {
	var bugs []bug
	out, err := faultline("list", "bugs", "--json")
	if err == nil {
		err = json.Unmarshal(out, &bugs)
	}
	if err == nil && len(bugs) == 0 {
		err = errors.New("there are no bugs")
	}
	return bugs, err
}

// median is the median score over the starting points; it counts as found only if
// it is found from every one.
func median(b bug, o options, runs string) (score, error) {
	var all []score
	for i := range o.ranges {
		s, err := find(b, uint64(1+i*100_000), o.most, runs) //nolint:gosec // small
		if err != nil {
			return s, err
		}
		all = append(all, s)
		if !s.found {
			return s, nil
		}
	}
	slices.SortFunc(all, func(a, b score) int { return a.seeds - b.seeds })
	return all[len(all)/2], nil
}

func find(b bug, from uint64, most int, runs string) (score, error) {
	last := from + uint64(most) - 1 //nolint:gosec // positive
	out, err := faultline("run", "--system", b.System, "--bug", b.Name, "--on", "sim", "--json", "--quiet", "--runs", runs,
		"--seeds", strconv.FormatUint(from, 10)+".."+strconv.FormatUint(last, 10))
	if err != nil {
		return score{}, err
	}
	var s sweep
	if err := json.Unmarshal(out, &s); err != nil {
		return score{}, err
	}
	if len(s.Failed) == 0 {
		return score{wall: s.Duration}, nil
	}
	f := s.Failed[0]
	return score{
		found: fits(b, f.Anomalies), seeds: int(f.Seed-from) + 1, simulated: s.Simulated, wall: s.Duration, anomalies: f.Anomalies, //nolint:gosec // small
	}, nil
}

// fits tells whether the anomalies have one that the bug is expected to show, or a
// broken invariant of the protocol.
func fits(b bug, anomalies []string) bool {
	invariants := []string{"election-safety", "log-matching", "leader-completeness", "state-machine-safety", "agreement"}
	return slices.ContainsFunc(anomalies, func(a string) bool {
		return slices.Contains(b.Expects, a) || slices.Contains(invariants, a)
	})
}
