package zookeeper

import (
	"slices"
	"strings"
	"testing"
)

func TestVoters(t *testing.T) {
	config := "server.1=n1:2888:3888:participant;0.0.0.0:2181\nserver.3=n3:2888:3888:participant;0.0.0.0:2181\nserver.2=n2:2888:3888:observer;0.0.0.0:2181\nversion=100000003"
	if got := voters(config); !slices.Equal(got, []string{"n1", "n3"}) {
		t.Errorf("%v", got)
	}
	env := map[string]string{"ZOO_CFG": "tickTime=500\n" + serverLine(1, "n1") + "\n" + serverLine(2, "n2")}
	joining(env, []string{serverLine(2, "n2"), serverLine(3, "n3")})
	if got := voters(env["ZOO_CFG"]); !slices.Equal(got, []string{"n2", "n3"}) || !strings.HasPrefix(env["ZOO_CFG"], "tickTime=500\n") {
		t.Errorf("%v", env)
	}
}
