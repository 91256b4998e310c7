package reports

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/faultline-dev/faultline/checker"
	"github.com/faultline-dev/faultline/reports/junit/junittest"
)

var update = flag.Bool("update", false, "write the golden files again")

// golden compares got with testdata/name.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs; run go test ./reports -update and look at the difference. Got:\n%s", path, got)
	}
}

// situations are the kinds of outcome that every text report must tell apart.
func situations() map[string]func(*synth, *Results) {
	return map[string]func(*synth, *Results){
		"stale-read":        staleRead,
		"valid":             nil,
		"lost-write":        lostWrite,
		"double-hold":       doubleHold,
		"naive-lock":        naiveLock,
		"expired-read":      expiredRead,
		"causal-violation":  causalViolation,
		"did-not-bite":      didNotBite,
		"nothing-succeeded": nothingSucceeded,
		"not-tested": func(_ *synth, r *Results) {
			r.Verdict, r.Error = checker.Unknown, "node n2 did not answer within 30 s; see nodes/n2/raft.log"
		},
	}
}

func TestTextReports(t *testing.T) {
	t.Parallel()
	for name, shape := range situations() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := synthFolder(t, 400, shape)
			r, err := f.Results()
			if err != nil {
				t.Fatal(err)
			}
			h, err := f.History()
			if err != nil {
				t.Fatal(err)
			}
			var text, junit, summary, notes bytes.Buffer
			for _, err := range []error{
				Text(&text, r, h, TextOptions{Folder: "runs/latest"}), WriteJUnit(&junit, r), WriteSummary(&summary, r), WriteAnnotations(&notes, r),
			} {
				if err != nil {
					t.Fatal(err)
				}
			}
			if err := junittest.Check(junit.Bytes()); err != nil {
				t.Errorf("JUnit XML: %v", err)
			}
			golden(t, name+".txt", text.Bytes())
			golden(t, name+".junit.xml", junit.Bytes())
			golden(t, name+".summary.md", summary.Bytes())
			golden(t, name+".annotations.txt", notes.Bytes())
		})
	}
}

func TestShort(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]string{
		0: "0 s", 12: "12 ns", 1500: "1.5 µs", 12 * time.Millisecond: "12 ms", 1234 * time.Millisecond: "1.23 s",
		100 * time.Second: "100 s", time.Hour: "1h0m0s", -time.Millisecond: "-1 ms",
	} {
		if got := short(d); got != want {
			t.Errorf("short(%d) = %q, want %q", d, got, want)
		}
	}
}

// TestTextFitsTheTerminal: sentences and witnesses are broken where they are to be.
func TestTextFitsTheTerminal(t *testing.T) {
	t.Parallel()
	for _, width := range []int{60, 80, 100} {
		f := synthFolder(t, 200, staleRead)
		s, err := f.Source()
		if err != nil {
			t.Fatal(err)
		}
		var b bytes.Buffer
		if err := Text(&b, s.Results, s.History, TextOptions{Width: width}); err != nil {
			t.Fatal(err)
		}
		told, _, _ := strings.Cut(b.String(), "\nfaults")
		for line := range strings.SplitSeq(told, "\n") {
			// A drawing has a least width; only very narrow terminals have less.
			if n := utf8.RuneCountInString(line); n >= width && (width >= 80 || !strings.Contains(line, "├")) {
				t.Errorf("%d columns in %d: %s", n, width, line)
			}
		}
	}
}
