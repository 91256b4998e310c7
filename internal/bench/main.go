// Command bench measures what the judges promise on speed and memory, a row a
// promise: against sorting as many integers, and against Porcupine in the same
// process on the same histories. `make bench` runs it.
//
// Whatever is compared is timed in turns, and a ratio is the median of those of
// the turns. Memory is all that one check allocates, whether or not it was given
// back meanwhile: no less than its peak.
package main

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"time"
)

// options of all rows.
type options struct {
	long  bool
	cpu   bool
	limit time.Duration
	// hopeless is the limit where Porcupine is known to find no answer.
	hopeless time.Duration
	binary   string
	dir      string
}

// row is one promise.
type row struct {
	name    string
	measure func(options) (line, error)
}

// line is what was measured.
type line struct {
	engine  string  // and its verdict
	ns      float64 // an operation
	bytes   float64 // an operation
	peer    string  // what the other took
	got     string  // the ratio, or the figure that was asked for
	asked   string
	failed  []string // promises not kept
	skipped string   // why it was not measured

	wentBack bool // the search had to
}

func main() {
	var o options
	only := ""
	flag.BoolVar(&o.long, "long", false, "also 10,000,000 operations, and a minute for each cell in which Porcupine finds no answer")
	flag.BoolVar(&o.cpu, "cpu", false, "count processor time instead of time: for machines that do other work as well")
	flag.DurationVar(&o.limit, "limit", 0, "Porcupine's time limit; by default 20s, a minute with -long, 3s where it is known to find no answer")
	flag.StringVar(&o.binary, "faultline", "", "the built command, for the rows that read files; without it they are skipped")
	flag.StringVar(&only, "only", "", "only the rows whose names contain this")
	flag.Parse()
	o.hopeless = 3 * time.Second
	if o.long {
		o.hopeless = time.Minute
	}
	if o.limit == 0 {
		o.limit = 20 * time.Second
		if o.long {
			o.limit = time.Minute
		}
	}
	dir, err := os.MkdirTemp("", "faultline-bench")
	if err == nil {
		o.dir = dir
		err = run(o, only)
		err = first(err, os.RemoveAll(dir))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1) //nolint:forbidigo // this is main
	}
}

func first(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func run(o options, only string) error {
	const format = "%-66s %-16s %8s %7s %10s %9s %-26s %s\n"
	fmt.Fprintf(os.Stdout, format, "history", "verdict", "ns/op", "B/op", "other", "measured", "promised", "")
	kept, missed := 0, 0
	var flat flatness
	for _, r := range append(rows(o, &flat), flat.rows()...) {
		if !strings.Contains(r.name, only) {
			continue
		}
		l, err := r.measure(o)
		if err != nil {
			return fmt.Errorf("%s: %w", r.name, err)
		}
		word := "ok"
		switch {
		case l.skipped != "":
			word = "skipped: " + l.skipped
		case len(l.failed) > 0:
			word = "MISSED: " + strings.Join(l.failed, ", ")
			missed++
		default:
			kept++
		}
		fmt.Fprintf(os.Stdout, format, r.name, l.engine, number(l.ns), number(l.bytes), l.peer, l.got, l.asked, word)
	}
	fmt.Fprintf(os.Stdout, "%d kept, %d missed\n", kept, missed)
	return nil
}

func number(x float64) string {
	if x == 0 {
		return ""
	}
	return fmt.Sprintf("%.1f", x)
}

// rows are all promises, but those on flatness, which follow from others. What the
// command needs comes first: the kernel counts the memory of a process from that of the
// one which starts it.
func rows(o options, flat *flatness) []row {
	rs := fileRows()
	rs = append(rs, zoneRows(o, flat)...)
	rs = append(rs, ratioRows()...)
	rs = append(rs, answerRows()...)
	rs = append(rs, searchRows()...)
	return append(rs, corpusRow())
}
