package linear

import (
	"strings"
	"testing"

	"github.com/faultline-dev/faultline/checker"
	"github.com/faultline-dev/faultline/checker/checkertest"
	"github.com/faultline-dev/faultline/checker/model"
	"github.com/faultline-dev/faultline/checker/synth"
)

// TestClaimed: where values repeat, the order that versions claim decides, also
// with operations of unknown fate; where it cannot be, nothing is decided by it.
func TestClaimed(t *testing.T) {
	t.Parallel()
	for _, info := range []float64{0, 0.05} {
		o := synth.Options{Model: "cas-register", Ops: 5000, Processes: 8, Keys: 2, Values: 3, Versions: true, Info: info, Seed: 1}
		h, err := synth.History(o)
		if err != nil {
			t.Fatal(err)
		}
		r := Check(t.Context(), h, Options{Model: model.CASRegister()})
		if r.Verdict != checker.Valid || info == 0 && r.Engine != Fast {
			t.Errorf("with %v unknown fates: %v by %s", info, r.Verdict, r.Engine)
		}
		o.Anomaly, o.At = "stale-read", 0.5
		if h, err = synth.History(o); err != nil {
			t.Fatal(err)
		}
		if r = Check(t.Context(), h, Options{Model: model.CASRegister(), Engine: Fast}); r.Verdict == checker.Valid && info == 0 {
			t.Errorf("with a stale read: %v by %s", r.Verdict, r.Engine)
		}
	}
}

// TestVersions: what the system claims of its order is held against real time
// and against itself, and reported beside the verdict.
func TestVersions(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, history, want string }{
		{"one version, two values", `
p1 write 1 v4   |--------|
p2 write 2 v5   |--------|
p3 read 1 v5      |----|
`, "process 3 read 1 with version 5, told at 0.007 s; but process 2 wrote 2 with the same version, told at 0.009 s"},
		{"one version, one value", `
p1 write 1 v4   |--|
p3 read 1 v4        |--|
p2 cas 1 2 v5            |--|
p3 read 2 v5                 |--|
p3 cas 1 3 v5                     |--!
`, ""},
		{"a lower one than shown before", `
p1 write 1 v4   |-------------------|
p2 write 2 v5   |-------------------|
p3 read 2 v5      |--|
p4 read 1 v4            |--|
`, "process 4 read 1 with version 4, asked at 0.008 s; but before that, at 0.005 s, process 3 had been shown version 5"},
		{"another key's", `
p1 a: write 1 v4   |--|
p2 b: write 2 v4   |--|
`, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			h, err := checkertest.Parse(c.history)
			if err != nil {
				t.Fatal(err)
			}
			d, ok := Check(t.Context(), h, Options{Model: model.CASRegister()}).Detail.(*Detail)
			if !ok {
				t.Fatal("no detail")
			}
			got := ""
			for _, a := range d.VersionRegressions {
				got += a.Explain
			}
			if (got == "") != (c.want == "") || !strings.Contains(got, c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}
