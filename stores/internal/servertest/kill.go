package servertest

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/faultline-dev/faultline/stores/node"
)

// childEnv holds the Config of a node that the test binary is to be.
const childEnv = "FAULTLINE_STORES_TEST_NODE"

// killsEnv is how many times Kill kills; default 15.
const killsEnv = "FAULTLINE_STORES_KILLS"

// Child serves a node, if the test binary was started to be one, and tells so. Ask
// it first in TestMain.
func Child(serve Serve) bool {
	conf := os.Getenv(childEnv)
	if conf == "" {
		return false
	}
	var a node.Config
	err := json.Unmarshal([]byte(conf), &a)
	if err == nil {
		err = serve(context.Background(), a)
	}
	fmt.Fprintln(os.Stderr, err)
	return true
}

// process makes a node a process of its own.
func (n *Node) process(t *testing.T) *exec.Cmd {
	t.Helper()
	conf, err := json.Marshal(n.Config)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), childEnv+"="+string(conf))
	return cmd
}

// kill kills nodes at random moments under load, by SIGKILL, and starts them
// again: every acknowledged write is there afterwards.
func kill(t *testing.T) {
	t.Helper()
	kills := 15
	if testing.Short() {
		kills = 5
	}
	if s := os.Getenv(killsEnv); s != "" {
		kills, _ = strconv.Atoi(s)
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d, %d kills", seed, kills)
	nodes := layout(t)
	procs := make([]*exec.Cmd, len(nodes))
	for i, n := range nodes {
		procs[i] = n.process(t)
		if err := procs[i].Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = procs[i].Process.Kill(); _ = procs[i].Wait() })
	}
	var stop atomic.Bool
	var wg sync.WaitGroup
	acked := make([]int, len(nodes))
	for i, n := range nodes {
		wg.Go(func() {
			for v := 1; !stop.Load(); v++ {
				body := Body{"key": fmt.Sprintf("w%d-%d", i, v), "value": v}
				if status, _ := n.Post(t, "write", body); status == 200 {
					acked[i] = v
					continue
				}
				acked[i], v = v-1, v-1 // try the same again: what counts is an unbroken run
				time.Sleep(5 * time.Millisecond)
			}
		})
	}
	rng := rand.New(rand.NewPCG(seed, 0))
	for range kills {
		time.Sleep(time.Duration(rng.IntN(900)) * time.Millisecond) // an election takes up to 600
		i := rng.IntN(len(nodes))
		_ = procs[i].Process.Kill()
		_ = procs[i].Wait()
		procs[i] = nodes[i].process(t)
		if err := procs[i].Start(); err != nil {
			t.Fatal(err)
		}
	}
	time.Sleep(300 * time.Millisecond)
	stop.Store(true)
	wg.Wait()
	for i := range nodes {
		for v := 1; v <= acked[i]; v++ {
			x := nodes[(i+v)%len(nodes)].Eventually(t, "read", Body{"key": fmt.Sprintf("w%d-%d", i, v)})
			if x["value"] != float64(v) {
				t.Fatalf("write %d of client %d was acknowledged, and reads %v", v, i, x["value"])
			}
		}
	}
	t.Logf("acknowledged writes: %v", acked)
}
