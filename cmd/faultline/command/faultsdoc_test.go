package command

import (
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/faultline-dev/faultline/cluster"
	"github.com/faultline-dev/faultline/cluster/local"
	"github.com/faultline-dev/faultline/docker"
	"github.com/faultline-dev/faultline/nemesis"
	"github.com/faultline-dev/faultline/sim"
)

const faultsDoc = "../../../docs/faults.md"

// table are the cells of the table in docs/faults.md whose first header is that, with
// the headers first.
func table(t *testing.T, first string) [][]string {
	t.Helper()
	b, err := os.ReadFile(faultsDoc)
	if err != nil {
		t.Fatal(err)
	}
	var rows [][]string
	for line := range strings.Lines(string(b)) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		switch {
		case !strings.HasPrefix(line, "|"):
			if rows != nil {
				return rows
			}
		case rows != nil && strings.HasPrefix(cells[0], "---"):
		case rows != nil || cells[0] == first:
			rows = append(rows, cells)
		}
	}
	t.Fatalf("%s has no table that begins with %q, or nothing after it", faultsDoc, first)
	return nil
}

// TestFaultsTable: the documentation names every fault, refuses in the worlds in which
// `doctor` says that it is not possible and in no other, and the tests that it cites exist.
func TestFaultsTable(t *testing.T) {
	if runtime.GOOS != "linux" || runtime.GOARCH != "amd64" {
		t.Skip("some faults are refused on machines other than linux/amd64, as the documentation says elsewhere")
	}
	t.Setenv("DOCKER_HOST", "unix:///nowhere/docker.sock") // an engine could lack something
	env := Default()
	l, err := local.New(local.Config{Names: local.Names(2), Ports: env.localPorts(), Dir: t.TempDir(), Framed: true, Command: self})
	if err != nil {
		t.Fatal(err)
	}
	d, err := docker.New(docker.Config{Nodes: local.Names(2), Bare: true})
	if err != nil {
		t.Fatal(err)
	}
	rows := table(t, "faults")
	worlds := map[string]string{"local processes": onLocal, "containers": onDocker, "simulator": onSim}
	tests := testNames(t)
	seen := map[string]int{}
	said := map[string]map[string]bool{} // fault, world: refused
	for _, row := range rows[1:] {
		for _, m := range regexp.MustCompile("`([a-z:-]+)`").FindAllStringSubmatch(row[0], -1) {
			seen[m[1]]++
			said[m[1]] = map[string]bool{}
			for i, cell := range row[1:] {
				said[m[1]][worlds[rows[0][i+1]]] = strings.HasPrefix(cell, "refused")
			}
		}
		for _, m := range regexp.MustCompile(`Test[A-Z]\w*`).FindAllString(strings.Join(row, " "), -1) {
			if !slices.ContainsFunc(tests, func(name string) bool { return strings.HasPrefix(name, m) }) {
				t.Errorf("%s cites %s, which is no test", row[0], m)
			}
		}
	}
	for _, a := range env.abilities(map[string]cluster.Cluster{onSim: sim.New(sim.Draw(1)), onLocal: l, onDocker: d}, map[string]string{}) {
		if seen[a.Fault] != 1 {
			t.Errorf("%s stands in %d rows of %s", a.Fault, seen[a.Fault], faultsDoc)
		}
		for w, why := range a.Worlds {
			if refused, ok := said[a.Fault][w]; !ok || refused != (why != "") {
				t.Errorf("%s on %s: the documentation says that it is refused: %v; the code: %q", a.Fault, w, refused, why)
			}
		}
	}
	for name := range seen {
		fault, arg, _ := strings.Cut(name, ":")
		i := slices.IndexFunc(env.Faults, func(f nemesis.Fault) bool { return f.Name == fault })
		if i < 0 || arg != "" && !slices.ContainsFunc(env.Faults[i].Args, func(x nemesis.Arg) bool { return x.Name == arg }) {
			t.Errorf("%s has a row for %s, which is no fault", faultsDoc, name)
		}
	}
}

// testNames are the tests of this module.
func testNames(t *testing.T) []string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "git", "-C", "../../..", "grep", "-hoE", `^func Test\w+`, "--", "*_test.go").Output()
	if err != nil {
		t.Skipf("no checkout: %v", err)
	}
	return strings.Fields(strings.ReplaceAll(string(out), "func ", ""))
}

// TestMembersTable: what the documentation says of each system's membership is what the
// system offers.
func TestMembersTable(t *testing.T) {
	said := map[string]bool{}
	for _, row := range table(t, "system")[1:] {
		if len(row) < 3 {
			t.Fatalf("a row of %d cells: %v", len(row), row)
		}
		for name := range strings.SplitSeq(row[0], ",") {
			said[strings.ToLower(strings.TrimSpace(name))] = row[1] != "not possible"
		}
	}
	for _, s := range Default().Systems {
		can, ok := said[s.Name]
		if !ok || can != (s.Members != nil) {
			t.Errorf("%s: the documentation says that members can change: %v (it is there: %v); the system: %v", s.Name, can, ok, s.Members != nil)
		}
	}
	if len(said) != len(Default().Systems) {
		t.Errorf("systems that there are not: %v", said)
	}
}
