package docker

import (
	"strings"
	"testing"

	"github.com/faultline-dev/faultline/cluster"
	"github.com/faultline-dev/faultline/docker/agent"
)

// TestKernelThatLacksSomething: what it lacks is refused by name, with the reason,
// before any node is made; the rest is not.
func TestKernelThatLacksSomething(t *testing.T) {
	const why = "this kernel is built without it"
	for feature, shapes := range map[string][]cluster.Shape{
		agent.FeatureLoss:  {{Loss: 0.1}},
		agent.FeatureQueue: {{Delay: 1}, {Rate: 1000}, {Reorder: 0.1}},
		agent.FeatureCopy:  {{Duplicate: 0.1}, {Corrupt: 0.1}},
	} {
		c := &Cluster{kernel: map[string]string{feature: why, agent.FeatureNetem: why}}
		for _, s := range shapes {
			if err := c.Shapes(s); err == nil || !strings.Contains(err.Error(), feature+" of packets: "+why) {
				t.Errorf("without %s, %+v: %v", feature, s, err)
			}
			if err := (&Cluster{kernel: map[string]string{}}).Shapes(s); err != nil {
				t.Errorf("with %s, %+v: %v", feature, s, err)
			}
		}
	}
}

// TestKernelWithNetem: netem does what user space cannot, but for damage.
func TestKernelWithNetem(t *testing.T) {
	const why = "this kernel is built without it"
	c := &Cluster{kernel: map[string]string{agent.FeatureQueue: why, agent.FeatureCopy: why, agent.FeatureLoss: why, agent.FeatureNetem: ""}}
	for _, s := range []cluster.Shape{{Delay: 1, Jitter: 1}, {Rate: 1000}, {Reorder: 0.1}, {Duplicate: 0.1}, {Loss: 0.1}} {
		if err := c.Shapes(s); err != nil {
			t.Errorf("%+v: %v", s, err)
		}
	}
	if err := c.Shapes(cluster.Shape{Delay: 1, Corrupt: 0.1}); err == nil || !strings.Contains(err.Error(), "copy of packets: "+why) {
		t.Errorf("damage: %v", err)
	}
}
