package main

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"
)

// page is docs/bugs.md: the catalogue, and beside each bug what the last
// measurements said.
const pageHead = `# The bug catalogue

Each bug is a switch of a bundled store (` + "`--bug NAME`" + `) that breaks one rule of its protocol. The harness must
find every one by what it is expected to show, or by a broken invariant; with none on it must find nothing.

- *simulator*: how many simulated runs of 10 s it took (` + "`--on sim --seeds`" + `, the median of five starting points), the wall time, and what
  showed; ` + "`make bugs`" + ` measures it.
- *local*: how long real processes took (` + "`--on local`" + `, runs of 10 s, a minute at most), and what showed; ` + "`make bugs-local`" + ` measures it.
  Some bugs need a machine that loses power, a network that repeats frames, or more luck than a minute has.

Both write this page; its words come from ` + "`faultline list bugs`" + `.
`

// cells are what was measured of one bug.
type cells struct{ sim, local string }

// render is the page.
func render(bugs []bug, measured map[string]cells) string {
	var b strings.Builder
	b.WriteString(pageHead)
	system := ""
	for _, x := range bugs {
		if x.System != system {
			system = x.System
			fmt.Fprintf(&b, "\n## %s\n\n| bug | what is wrong | the rule it breaks | workload | simulator | local |\n|---|---|---|---|---|---|\n", system)
		}
		m := measured[x.String()]
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s | %s |\n", x.Name, x.Doc, x.Rule, x.Workload, m.sim, m.local)
	}
	return b.String()
}

// readPage takes the measured cells out of a page; one that does not exist has none.
func readPage(path string) (map[string]cells, error) {
	measured := map[string]cells{}
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return measured, nil
	}
	if err != nil {
		return nil, err
	}
	defer file.Close()
	system := ""
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		if name, ok := strings.CutPrefix(lines.Text(), "## "); ok {
			system = name
		}
		c := strings.Split(strings.Trim(lines.Text(), "| "), " | ")
		if len(c) >= 5 && strings.HasPrefix(c[0], "`") {
			c = append(c, "") // the last cell may be empty
			measured[system+"/"+strings.Trim(c[0], "`")] = cells{sim: c[4], local: c[5]}
		}
	}
	return measured, lines.Err()
}

// writePage puts scores into the page, leaving what was measured otherwise.
func writePage(o options, scores map[string]score) error {
	bugs, err := catalogue()
	if err != nil {
		return err
	}
	measured, err := readPage(o.page)
	if err != nil {
		return err
	}
	for name, s := range scores {
		m := measured[name]
		if o.local {
			m.local = s.localCell()
		} else {
			m.sim = s.simCell()
		}
		measured[name] = m
	}
	return os.WriteFile(o.page, []byte(render(bugs, measured)), 0o644) //nolint:gosec // for everyone to read
}

func (s score) simCell() string {
	if !s.found {
		return "not found"
	}
	return fmt.Sprintf("%d in %.1f s: %s", s.seeds, s.wall.Seconds(), strings.Join(s.anomalies, ", "))
}

func (s score) localCell() string {
	if !s.found {
		return "–"
	}
	return fmt.Sprintf("%v: %s", s.wall.Round(time.Second), strings.Join(s.anomalies, ", "))
}
