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

// also separates the edits of a mutant that takes more than one.
const also = "\n\n"

func mutants() []mutant {
	return []mutant{
		// The zones.
		{"a read may come before the invocation of its write", "blocks.go", "if b.writer >= 0 && r < inv[b.writer] {", "if false && r < inv[b.writer] {"},
		{"a read of what nobody wrote is passed over", "blocks.go", "z.found = append(z.found, conflict{kind: kindPhantom, a: int32(k)})", ""},
		{"a compare-and-set may expect what nobody wrote", "blocks.go", "if !ok {\n\t\t\treturn conflict{kind: kindPhantom", "if !ok {\n\t\t\tcontinue\n\t\t}\n\t\tif false {\n\t\t\treturn conflict{kind: kindPhantom"},
		{"two may change one value", "blocks.go", "if o := x.next; o != 0 {", "if o := x.next; o < 0 {"},
		{"they may wait for each other", "register.go", "if seen < kept {", "if false {"},
		{"rule 2 is not looked at", "register.go", "if x.minRet < after && c.kind == kindNone {", "if false && x.minRet < after {"},
		{"rule 2 forgets all blocks but the last", "register.go", "if x.last > g {", "if true {"},
		{"reads have no place in their blocks", "blocks.go", "b.minRet = min(b.minRet, r)", "if c&reading == 0 {\n\t\t\tb.minRet = min(b.minRet, r)\n\t\t}"},
		{"rule 3 forgets that a zone ends", "register.go", "if o.f >= g {", "if o.f >= g+3 {"},
		{"rule 3 forgets it too soon", "register.go", "if o.f >= g {", "if o.f >= g-3 {"},
		{"backward zones within forward ones are passed over", "register.go", "if f < o.g {", "if f < g && f < o.g {"},
		{"forward zones that overlap are passed over", "register.go", "if f < o.g {", "if f > g && f < o.g {"},
		{"the initial value may come at any time", "blocks.go", "block{writer: -1, minRet: -1,", "block{writer: -1, minRet: never,"},
		{"equal stamps are in the journal's order", "columns.go", "if !h.Tied() && !byKey {", "if true {"},
		{"all keys share their columns", "linear.go", "starts[k] = int32(pt.from)", "starts[k] = int32(0 * pt.from)"},
		// What is dropped, and what is kept.
		{"writes of unknown fate happened", "blocks.go", "flags = flagMay", "flags = flagKept"},
		{"they were over when they were given up", "columns.go", "if all&open == 0 {", "if true {"},
		{"those that were read did not happen", "blocks.go", "z.blocks[b].flags&(flagRead|flagEaten) != 0", "z.blocks[b].flags&flagEaten != 0"},
		{"those that a compare-and-set saw did not happen", "blocks.go", "z.blocks[b].flags&(flagRead|flagEaten) != 0", "z.blocks[b].flags&flagRead != 0"},
		{"keeping does not go back along a chain", "blocks.go", "b = x.prev\n", "break\n"},
		{"a value written twice goes to the zones", "blocks.go", "if !z.table.put(written[z.blocks[i].writer], int32(i)) {", "if !z.table.put(written[z.blocks[i].writer], int32(i)) && false {"},
		{"so does one that writes the initial value", "blocks.go", "if to == history.Nil {", "if false {"},
		{"a failed compare-and-set that saw a value is dropped", "columns.go", "c.code[k], c.read[k] = reading, o", "c.code[k] = dropped"},
		{"a failed compare-and-set that excludes a value is dropped", "columns.go", "case excluding:", "case false:"},
		// What the schedule gets wrong is caught by its proof, unless both are bent.
		{
			"the schedule and its proof forget what excludes a value", "schedule.go",
			"return b == s.cur && s.start[b] < s.z.col.inv[k]" + also + "c == failing && from < inv && to > ret", "return b < 0" + also + "false",
		},
		{"the search drops what was read", "view.go", "if some {\n\t\t\twanted[v] = true", "if some && false {\n\t\t\twanted[v] = true"},
		{"the search drops what only another one kept expects", "view.go", "some && !wanted[u]", "some && false && !wanted[u]"},
		{"the search drops beside assertions of absence", "view.go", "if slices.ContainsFunc(p.must, want) {", "if slices.ContainsFunc(p.must, want) && false {"},
		// The search.
		{"a write in its own state goes at once", "search.go", "if e.op.Pure {\n\t\t\tif to", "if to, ok := s.p.m.Step(s.state, e.op); e.op.Pure || ok && to == s.state {\n\t\t\tif to"},
		{"a node is exhausted whatever it used", "exhausted.go", "if s.subset(s.dead.entries[e].used) {", "if true {"},
		{"the state is no part of a node", "exhausted.go", "x := mix(uint64(s.state) ^ 0x510e527fade682d1)", "x := uint64(1)"},
		{"operations of unknown fate go before they were invoked", "indeterminate.go", "if c.taken == len(c.items) || s.p.may[c.items[c.taken]].inv > minRet {\n\t\t\tcontinue\n\t\t}\n\t\tto, ok", "if c.taken == len(c.items) {\n\t\t\tcontinue\n\t\t}\n\t\tto, ok"},
		{"those that another of them wants are never tried", "indeterminate.go", "some && !seen(u)", "some && false && !seen(u)"},
		{"calls and returns at one time are in order", "view.go", "p.must[open[0]].ret < p.must[k].inv", "p.must[open[0]].ret <= p.must[k].inv"},
		// Its look ahead in queues.
		{"a dequeue goes at once although others take its element", "line.go", "return x.times == 1 && x.taken == 1", "return x.taken > 0"},
		{"a dequeue of unknown result takes no first element", "line.go", "len(l.held) > 0 && l.spans[l.held[0]].by != forever", "len(l.held) > 0"},
		{"dequeues of unknown result take nothing", "line.go", "if blind--; blind < 0 {", "if blind = -1; blind < 0 {"},
		{"enqueues of unknown fate are dropped", "line.go", "s.taken > 0 && s.taken < s.times:", "false:"},
		{"an enqueue that is needed was over at once", "line.go", "e.ret = s.by + 1", "e.ret = e.inv"},
		{"all copies of an element are taken", "line.go", "if s.taken < s.times {", "if false {"},
		// Elements of sets, and claimed orders.
		{"an element may be seen before it was added", "element.go", "e.ret(t) < e.inv(e.add)", "false && e.ret(t) < e.inv(e.add)"},
		{"an element that was added may be missing", "element.go", "f >= 0 && e.inv(f) > e.ret(up)", "f >= 0 && false && e.inv(f) > e.ret(up)"},
		{"a remove leaves what was there", "element.go", "if e.certain(e.rem) {", "if false {"},
		{"an element may be seen after its remove", "element.go", "t >= 0 && e.inv(t) > e.ret(e.rem)", "t >= 0 && false && e.inv(t) > e.ret(e.rem)"},
		{"an element may be missing before its remove", "element.go", "if e.inv(f) > e.ret(up) && e.ret(f) < e.inv(down) {", "if false {"},
		{"an add may have been nothing", "element.go", "case e.certain(e.add):", "case false && e.certain(e.add):"},
		{"a claimed order is believed", "claimed.go", "return replay(pr, claimed)", "return true"},
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
		bent, to := string(src), strings.Split(m.to, also)
		for i, from := range strings.Split(m.from, also) {
			if n := strings.Count(bent, from); n != 1 {
				t.Fatalf("%s: %q occurs %d times in %s", m.what, from, n, m.file)
			}
			bent = strings.Replace(bent, from, to[i], 1)
		}
		if !testing.Short() {
			t.Run(m.what, func(t *testing.T) {
				t.Parallel()
				m.run(t, bent)
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
