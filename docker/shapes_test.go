package docker_test

import (
	"strings"
	"testing"

	"github.com/faultline-dev/faultline/cluster"
	"github.com/faultline-dev/faultline/docker"
)

func shapes(t *testing.T, c *docker.Cluster) {
	for name, s := range map[string]cluster.Shape{"duplicated": {Duplicate: 0.1}, "corrupted": {Corrupt: 0.1}, "probabilities": {Loss: 2}} {
		if err := c.Shapes(s); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%+v: %v", s, err)
		}
	}
	f, err := c.Features(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("this kernel: %v", f)
}
