package local

import (
	"fmt"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/faultline-dev/faultline/cluster/local/localtest"
)

// The test binary is also the node, and a harness that is killed.
func TestMain(m *testing.M) {
	localtest.Main()
	if os.Getenv("LOCAL_TEST_HARNESS") != "" {
		helperHarness()
	}
	goleak.VerifyTestMain(m)
}

// helperHarness brings a cluster up, prints the pids and waits to be killed.
func helperHarness() {
	c, err := New(Config{
		Names: Names(2), Ports: localtest.Ports(), Framed: true,
		Command: localtest.Command(localtest.Node), Dir: os.Getenv("DIR"),
	})
	if err == nil {
		err = c.Up(ctx())
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	for _, n := range c.(*local).procs {
		fmt.Println(n.current().pid)
	}
	time.Sleep(time.Minute)
	os.Exit(1)
}
