package linear

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// mutant is one condition of the checker, dropped or bent. That a test notices
// each is what makes them worth trusting.
type mutant struct {
	what, file, from, to string
}

func mutants() []mutant {
	return []mutant{
		// The zones.
		{"a read may come before the invocation of its write", "register.go", "if r <= z.writer[b] {", "if false {"},
		{"a read of what nobody wrote is passed over", "register.go", "z.found = append(z.found, conflict{kind: kindPhantom, a: k})", ""},
		{"a compare-and-set may expect what nobody wrote", "register.go", "if z.flags[own]&flagKept != 0 {\n\t\t\t\t\treturn conflict{kind: kindPhantom", "if false {\n\t\t\t\t\treturn conflict{kind: kindPhantom"},
		{"two may change one value", "register.go", "if o := z.next[b]; o != 0 {", "if o := z.next[b]; o < 0 {"},
		{"they may wait for each other", "register.go", "if seen < kept {", "if false {"},
		{"rule 2 forgets writers", "register.go", "if wr <= g {", "if false {"},
		{"rule 2 forgets readers", "register.go", "if z.minRet[b] <= g {", "if false {"},
		{"rule 3 with < instead of ≤", "register.go", "if f <= o.g {", "if f < o.g {"},
		{"rule 3 forgets that a zone ends", "register.go", "if o.f > g {", "if o.f > g+1 {"},
		{"backward zones within forward ones are passed over", "register.go", "if f <= o.g {", "if f <= g && f <= o.g {"},
		{"forward zones that overlap are passed over", "register.go", "if f <= o.g {", "if f > g && f <= o.g {"},
		{"the initial value may come at any time", "register.go", "f = 0\n\t\t\t} else {", "f = int32(z.n)\n\t\t\t} else {"},
		{"equal stamps are in the journal's order", "register.go", "r < n && z.col.inv[r] <= t; r++", "r < n && z.col.inv[r] < t; r++"},
		// What is dropped, and what is kept.
		{"writes of unknown fate happened", "register.go", "z.flags[b] = flagMay", "z.flags[b] = flagKept"},
		{"those that were read did not happen", "register.go", "z.flags[b]&(flagRead|flagEaten) != 0", "z.flags[b]&flagEaten != 0"},
		{"those that a compare-and-set saw did not happen", "register.go", "z.flags[b]&(flagRead|flagEaten) != 0", "z.flags[b]&flagRead != 0"},
		{"keeping does not go back along a chain", "register.go", "\t\t\tb = u\n\t\t}\n\t}\n\treturn conflict{}", "\t\t\tbreak\n\t\t}\n\t}\n\treturn conflict{}"},
		{"a value written twice goes to the zones", "register.go", "if !z.table.put(z.to(k, code), z.addBlock(int32(k))) {", "if b := z.addBlock(int32(k)); !z.table.put(z.to(k, code), b) && false {"},
		{"so does one that writes the initial value", "register.go", "if to == history.Nil {", "if false {"},
		{"a failed compare-and-set that saw a value is dropped", "register.go", "if o := h.Observed(i); o != history.None && h.Ret", "if o := h.Observed(i); false && h.Ret"},
		{"the search drops what was read", "view.go", "if some {\n\t\t\twanted[v] = true", "if some && false {\n\t\t\twanted[v] = true"},
		{"the search drops what only another one kept expects", "view.go", "some && !wanted[u]", "some && false && !wanted[u]"},
		{"the search drops beside assertions of absence", "view.go", "if slices.ContainsFunc(p.must, want) {", "if slices.ContainsFunc(p.must, want) && false {"},
		// The search.
		{"a write in its own state goes at once", "search.go", "if e.op.Pure {\n\t\t\tif to", "if to, ok := s.p.m.Step(s.state, e.op); e.op.Pure || ok && to == s.state {\n\t\t\tif to"},
		{"a node is exhausted whatever it used", "search.go", "if s.subset(s.dead.entries[e].used) {", "if true {"},
		{"the state is no part of a node", "search.go", "x := mix(uint64(s.state) ^ 0x510e527fade682d1)", "x := uint64(1)"},
		{"operations of unknown fate go before they were invoked", "search.go", "if c.taken == len(c.items) || s.p.may[c.items[c.taken]].inv > minRet {\n\t\t\tcontinue\n\t\t}\n\t\tto, ok", "if c.taken == len(c.items) {\n\t\t\tcontinue\n\t\t}\n\t\tto, ok"},
		{"those that another of them wants are never tried", "search.go", "some && !seen(u)", "some && false && !seen(u)"},
		{"calls and returns at one time are in order", "view.go", "p.must[open[0]].ret < p.must[k].inv", "p.must[open[0]].ret <= p.must[k].inv"},
		// The others.
		{"holds may overlap", "objects.go", "if b.f < a.g && a.f < b.g {", "if false {"},
		{"holds that meet at one time overlap", "objects.go", "if b.f < a.g && a.f < b.g {", "if b.f <= a.g && a.f <= b.g {"},
		{"an owner may acquire twice", "objects.go", "if open >= 0 {\n\t\t\t\treturn", "if false {\n\t\t\t\treturn"},
		{"an element may be dequeued twice", "objects.go", "case x.deq >= 0:\n", "case false:\n"},
		{"an element may be dequeued before it was enqueued", "objects.go", "case h.Done(i) < h.Invoke(x.enq):", "case false:"},
		{"elements may overtake each other", "objects.go", "if latest != nil && gone(latest) > h.Done(b.deq) {", "if false {"},
		{"elements dequeued at one time overtake each other", "objects.go", "gone(latest) > h.Done(b.deq)", "gone(latest) >= h.Done(b.deq)"},
		{"a dequeue of unknown fate took nothing", "objects.go", "(x.deq >= 0 || !unknown)", "true"},
		{"an enqueue of unknown fate happened", "objects.go", "if v.typ(x.enq) != history.Info && (x.deq", "if (x.deq"},
	}
}

// TestMutants runs the short tests of this package against each mutant, through
// an overlay. It takes minutes; -short looks only that each still has its place.
func TestMutants(t *testing.T) {
	t.Parallel()
	for _, m := range mutants() {
		src, err := os.ReadFile(m.file)
		if err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(string(src), m.from); n != 1 {
			t.Errorf("%s: %q occurs %d times in %s", m.what, m.from, n, m.file)
			continue
		}
		if !testing.Short() {
			t.Run(m.what, func(t *testing.T) {
				t.Parallel()
				m.run(t, strings.Replace(string(src), m.from, m.to, 1))
			})
		}
	}
}

func (m mutant) run(t *testing.T, src string) {
	t.Helper()
	dir := t.TempDir()
	here, err := filepath.Abs(m.file)
	if err != nil {
		t.Fatal(err)
	}
	bent, overlay := filepath.Join(dir, "mutant.go"), filepath.Join(dir, "overlay.json")
	replace, err := json.Marshal(map[string]any{"Replace": map[string]string{here: bent}})
	if err != nil {
		t.Fatal(err)
	}
	for path, data := range map[string][]byte{bent: []byte(src), overlay: replace} {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), "go", "test", "-short", "-failfast", "-vet=off", "-overlay", overlay,
		"-run", "^(TestExhaustive|TestHistories|TestAgreeWithBrute)$", "-timeout", "3m", ".")
	out, err := cmd.CombinedOutput()
	switch text := string(out); {
	case err == nil:
		t.Errorf("no test noticed that %s", m.what)
	case strings.Contains(text, "[build failed]"):
		t.Errorf("it does not build:\n%s", text)
	default:
		for line := range strings.Lines(text) {
			if strings.Contains(line, "--- FAIL") || strings.Contains(line, "panic: ") {
				t.Log(strings.TrimSpace(line))
			}
		}
	}
}
