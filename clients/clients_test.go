package clients_test

import (
	"sync"
	"testing"
	"time"

	"github.com/faultline-dev/faultline/clients"
	"github.com/faultline-dev/faultline/cluster"
)

// five is a cluster of five nodes.
type five struct{ cluster.Cluster }

func (five) Nodes() []cluster.Node { return make([]cluster.Node, 5) }

// TestAtOnce: all nodes are being asked before any has answered.
func TestAtOnce(t *testing.T) {
	var asked sync.WaitGroup
	asked.Add(5)
	all := make(chan struct{})
	go func() {
		asked.Wait()
		close(all)
	}()
	var met [5]bool
	clients.AtOnce(cluster.Real(), five{}, func(i int, _ cluster.Node) {
		asked.Done()
		select {
		case <-all:
			met[i] = true
		case <-time.After(10 * time.Second):
		}
	})
	if met != [5]bool{true, true, true, true, true} {
		t.Errorf("not all were asked at once: %v", met)
	}
}
