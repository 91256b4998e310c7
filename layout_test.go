package faultline_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const module = "github.com/faultline-dev/faultline"

// A room is a top-level folder; its packages may reach, also through others, only
// what is listed. The linter sees direct imports; this sees all of them.
func rooms() map[string]struct{ own, foreign []string } {
	return map[string]struct{ own, foreign []string }{
		// room: what of ours, what of others (besides the standard library)
		"history":   {[]string{"history"}, nil},
		"options":   {[]string{"options"}, nil},
		"cluster":   {[]string{"cluster"}, []string{"golang.org/x/sys"}},
		"generator": {[]string{"generator", "history"}, nil},
		"checker":   {[]string{"checker", "history"}, []string{"github.com/anishathalye/porcupine", "golang.org/x/sync", "github.com/cockroachdb/datadriven", "github.com/pmezard/go-difflib"}}, // datadriven: checkertest
		"nemesis":   {[]string{"nemesis", "history", "generator", "cluster", "options"}, []string{"gopkg.in/yaml.v3", "go.yaml.in/yaml/v3", "github.com/goccy/go-yaml", "golang.org/x/sys"}},
		"workloads": {[]string{"workloads", "history", "generator", "checker", "options"}, []string{"github.com/anishathalye/porcupine", "golang.org/x/sync"}},
		"stores":    {[]string{"stores"}, []string{"golang.org/x/sys"}},
		"reports":   {[]string{"reports", "history", "checker"}, []string{"github.com/anishathalye/porcupine", "golang.org/x/sync"}},
		"suites":    {[]string{"suites", "reports", "history", "checker"}, []string{"github.com/anishathalye/porcupine", "golang.org/x/sync", "go.yaml.in/yaml/v3"}},
	}
}

func TestRoomsImportOnlyDownwards(t *testing.T) {
	for room, may := range rooms() {
		if _, err := os.Stat(room); err != nil {
			t.Errorf("the room %s does not exist: %v", room, err)
			continue
		}
		for _, dep := range deps(t, "./"+room+"/...") {
			if ours, ok := strings.CutPrefix(dep, module+"/"); ok {
				if !under(ours, may.own) {
					t.Errorf("%s reaches %s; it may reach %s", room, ours, strings.Join(may.own, ", "))
				}
				continue
			}
			if strings.Contains(strings.SplitN(dep, "/", 2)[0], ".") && !under(dep, may.foreign) {
				t.Errorf("%s reaches %s, outside the standard library", room, dep)
			}
		}
	}
}

// The façade knows the interfaces, but no implementation.
func TestFacadeKnowsNoImplementation(t *testing.T) {
	for _, dep := range deps(t, ".") {
		for _, banned := range []string{"github.com/spf13", "github.com/testcontainers", "github.com/moby", "go.etcd.io", module + "/docker", module + "/sim", module + "/stores", module + "/cmd"} {
			if strings.HasPrefix(dep, banned) {
				t.Errorf("the façade reaches %s", dep)
			}
		}
	}
}

// Every folder of a catalogue stands in its list.
func TestCataloguesAreWhole(t *testing.T) {
	for room, kits := range map[string][]string{
		"workloads": {"all", "workloadtest"},
		"clients":   {"all", "clienttest", "bundled"},
		"nemesis":   {"all", "nemesistest", "planfile"},
	} {
		list, err := os.ReadFile(filepath.Join(room, "all", "all.go"))
		if err != nil {
			t.Error(err)
			continue
		}
		folders, err := os.ReadDir(room)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range folders {
			if !f.IsDir() || under(f.Name(), kits) || f.Name() == "internal" || f.Name() == "testdata" {
				continue
			}
			if !strings.Contains(string(list), `"`+module+"/"+room+"/"+f.Name()+`"`) {
				t.Errorf("%s/%s is not in %s/all: add it", room, f.Name(), room)
			}
		}
	}
}

func under(path string, roots []string) bool {
	for _, r := range roots {
		if path == r || strings.HasPrefix(path, r+"/") {
			return true
		}
	}
	return false
}

func deps(t *testing.T, pattern string) []string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", pattern).Output()
	if err != nil {
		t.Fatalf("go list -deps %s: %v", pattern, err)
	}
	return strings.Fields(string(out))
}
