package etcd

import (
	"slices"
	"strings"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

func TestJoining(t *testing.T) {
	args := strings.Fields("--name n3 --initial-cluster n1=http://n1:2380 --initial-cluster-state new --logger zap")
	joining(args, "n1=http://n1:2380,n3=http://n3:2380")
	want := strings.Fields("--name n3 --initial-cluster n1=http://n1:2380,n3=http://n3:2380 --initial-cluster-state existing --logger zap")
	if !slices.Equal(args, want) {
		t.Errorf("%v", args)
	}
	if got := nodeOf(&pb.Member{PeerURLs: []string{peerURL("n2")}}); got != "n2" {
		t.Errorf("a member that was never started lives on %q", got)
	}
}
