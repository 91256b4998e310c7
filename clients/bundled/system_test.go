package bundled

import (
	"slices"
	"testing"

	"github.com/faultline-dev/faultline/cluster"
)

// A node that counted itself among its peers would ask for a larger majority than
// there is.
func TestNodeIsNotItsOwnPeer(t *testing.T) {
	addr := func(a string) map[string]string { return map[string]string{"peer": a} }
	c, err := System("raft", nil).Process(cluster.Launch{
		Node: "n2", Nodes: []string{"n1", "n2", "n3"}, Listen: map[string]string{},
		Dial: map[string]map[string]string{"n1": addr("a:1"), "n2": addr("b:1"), "n3": addr("c:1")},
	})
	if err != nil {
		t.Fatal(err)
	}
	var peers []string
	for i, a := range c.Args {
		if a == "--peer" {
			peers = append(peers, c.Args[i+1])
		}
	}
	if want := []string{"n1=a:1", "n3=c:1"}; !slices.Equal(peers, want) {
		t.Errorf("got peers %v, want %v", peers, want)
	}
}
