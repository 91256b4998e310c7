package layered_test

import (
	"slices"
	"testing"

	"github.com/faultline-dev/faultline/clients"
	"github.com/faultline-dev/faultline/clients/all"
	"github.com/faultline-dev/faultline/cluster"
	"github.com/faultline-dev/faultline/options"
)

// A cache of its own runs on the first node alone, one with sentinels on all; the
// names of containers and of ports do not clash.
func TestPods(t *testing.T) {
	for _, s := range all.All(nil) {
		if s.Name != "redis+etcd" && s.Name != "redis+raft" {
			continue
		}
		for mode, want := range map[string][]int{"single": {2, 1, 1}, "sentinel": {3, 3, 3}} {
			o, err := options.Resolve(s.Options, map[string]string{"mode": mode})
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Check(o); err != nil {
				t.Error(err)
			}
			for i, n := range want {
				checkPod(t, s, o, i, n)
			}
		}
		var names []string
		var numbers []int
		for _, p := range s.Ports {
			names, numbers = append(names, p.Name), append(numbers, p.Number)
		}
		slices.Sort(names)
		slices.Sort(numbers)
		if len(slices.Compact(names)) != len(s.Ports) || len(slices.Compact(numbers)) != len(s.Ports) {
			t.Errorf("%s: ports clash: %v", s.Name, s.Ports)
		}
	}
}

func checkPod(t *testing.T, s clients.System, o options.Values, node, want int) {
	t.Helper()
	nodes := []string{"n1", "n2", "n3"}
	l := cluster.Launch{Node: nodes[node], Nodes: nodes, Dir: "/data", Options: o, Listen: map[string]string{}, Dial: map[string]map[string]string{}}
	for _, n := range nodes {
		l.Dial[n] = map[string]string{}
	}
	p, err := s.Pod(l)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, c := range p.Containers {
		names = append(names, c.Name)
	}
	slices.Sort(names)
	if len(slices.Compact(names)) != want {
		t.Errorf("%s mode=%s: %s has the containers %v, want %d", s.Name, o.String("mode"), nodes[node], names, want)
	}
}
