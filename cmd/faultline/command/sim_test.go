package command

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"syscall"
	"testing"
	"time"
)

// quiet is an Env whose output goes nowhere but into the returned buffer.
func quiet() (Env, *bytes.Buffer) {
	var out bytes.Buffer
	env := Default()
	env.Stdout, env.Stderr, env.Terminal = &out, &out, false
	return env, &out
}

// prepared is a simulated run of a seed, its shape drawn.
func prepared(tb testing.TB, seed uint64, flags map[string]string) *planned {
	tb.Helper()
	env, _ := quiet()
	a := asked{
		system: "raft", workload: "register", on: onSim, time: 10 * time.Second, checkTimeout: time.Minute,
		checkMemory: "1GiB", seed: formatSeed(seed), runs: tb.TempDir(),
		given: func(name string) bool { _, ok := flags[name]; return ok },
	}
	if s, ok := flags["system"]; ok {
		a.system = s
	}
	p, err := prepare(&env, a)
	if err != nil {
		tb.Fatal(err)
	}
	return p
}

// TestSameSeedSameBytes runs seeds twice, with different GOMAXPROCS, once in memory
// and once with a folder: the whole trace and every byte of the history are equal.
func TestSameSeedSameBytes(t *testing.T) {
	seeds := uint64(50)
	if testing.Short() {
		seeds = 10
	}
	for _, system := range []string{"raft", "paxos"} {
		for seed := uint64(1); seed <= seeds; seed++ {
			flags := map[string]string{"system": system}
			hash1, history1 := kept(t, seed, flags)
			old := runtime.GOMAXPROCS(1)
			hash2, history2 := kept(t, seed, flags)
			runtime.GOMAXPROCS(old)
			if hash1 != hash2 {
				t.Errorf("%s, seed %d: the trace is %x at first and then %x", system, seed, hash1, hash2)
			}
			if !bytes.Equal(history1, history2) {
				t.Errorf("%s, seed %d: the histories differ", system, seed)
			}
			if hash3 := tried(t, seed, flags); hash3 != hash1 {
				t.Errorf("%s, seed %d: the trace is %x with a folder and %x without", system, seed, hash1, hash3)
			}
		}
	}
}

// kept runs a seed in a folder.
func kept(t *testing.T, seed uint64, flags map[string]string) (hash uint64, history []byte) {
	t.Helper()
	p := prepared(t, seed, flags)
	var trace uint64
	p.traced = func(h uint64) { trace = h }
	_, folder, err := p.run(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(folder.Path, "history.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	return trace, b
}

// tried runs a seed in memory.
func tried(t *testing.T, seed uint64, flags map[string]string) (hash uint64) {
	t.Helper()
	p := prepared(t, seed, flags)
	p.traced = func(h uint64) { hash = h }
	if _, _, err := p.try(t.Context()); err != nil {
		t.Fatal(err)
	}
	return hash
}

// TestSeedsOfCorrectStores finds nothing.
func TestSeedsOfCorrectStores(t *testing.T) {
	last := 250
	if testing.Short() {
		last = 60
	}
	for _, system := range []string{"raft", "paxos"} {
		env, out := quiet()
		code := Main([]string{"run", "--on", "sim", "--system", system, "--seeds", fmt.Sprint("1..", last), "--quiet", "--runs", t.TempDir()}, env)
		if code != 0 {
			t.Errorf("%s: exit %d:\n%s", system, code, out)
		}
	}
}

// TestOutsideTheModel: faults that the failure model leaves out cause nothing but the
// anomalies listed for them, and some of those.
func TestOutsideTheModel(t *testing.T) {
	env, out := quiet()
	code := Main([]string{"run", "--on", "sim", "--opt", "model=outside", "--seeds", "1..40", "--json", "--runs", t.TempDir()}, env)
	var got struct {
		Explained map[string]int `json:"explained"`
	}
	if err := json.Unmarshal(out.Bytes(), &got); err != nil || code != 0 {
		t.Fatalf("exit %d, %v:\n%s", code, err, out)
	}
	if got.Explained["stale-read"] == 0 || got.Explained["liveness"] == 0 {
		t.Errorf("explained are only %v", got.Explained)
	}
}

// TestSeedsFindABug is one of the catalogue: `make bugs` has them all.
func TestSeedsFindABug(t *testing.T) {
	env, out := quiet()
	code := Main([]string{"run", "--on", "sim", "--bug", "stale-read", "--seeds", "1..100", "--json", "--runs", t.TempDir()}, env)
	if code != 1 {
		t.Fatalf("exit %d:\n%s", code, out)
	}
	var got struct {
		Seeds  int `json:"seeds"`
		Failed []struct {
			Seed      uint64   `json:"seed"`
			Anomalies []string `json:"anomalies"`
			Run       string   `json:"run"`
		} `json:"failed"`
	}
	if err := json.Unmarshal(out.Bytes(), &got); err != nil {
		t.Fatalf("%v:\n%s", err, out)
	}
	if len(got.Failed) != 1 || got.Failed[0].Run == "" {
		t.Errorf("got %+v", got)
	}
}

// BenchmarkSeed is a seed of the default shape: 10 simulated seconds, 5 nodes, 10
// processes, partition and kill, registers checked; the rate is drawn. Machines
// are shared: cpu-ms/seed does not depend on who else runs.
func BenchmarkSeed(b *testing.B) {
	for _, system := range []string{"raft", "paxos"} {
		b.Run(system, func(b *testing.B) { benchmarkSeed(b, system) })
	}
}

func benchmarkSeed(b *testing.B, system string) {
	b.Helper()
	flags := map[string]string{"nodes": "", "concurrency": "", "nemesis": "", "keys": ""}
	var ops int
	var simulated time.Duration
	seed := uint64(0)
	defer debug.SetGCPercent(debug.SetGCPercent(gcPercent))
	before := processor()
	for b.Loop() {
		seed++
		env, _ := quiet()
		p, err := prepare(&env, asked{
			system: system, workload: "register", on: onSim, time: 10 * time.Second, checkTimeout: time.Minute, checkMemory: "1GiB",
			seed: formatSeed(seed), nodes: 5, concurrency: "10", keys: 10, nemesis: "partition,kill",
			given: func(name string) bool { _, ok := flags[name]; return ok },
		})
		if err != nil {
			b.Fatal(err)
		}
		got, took, err := p.try(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		ops += got.History.Len()
		simulated += took
	}
	b.ReportMetric((processor()-before).Seconds()*1000/float64(seed), "cpu-ms/seed")
	b.ReportMetric(float64(seed)/b.Elapsed().Seconds(), "seeds/s")
	b.ReportMetric(float64(ops)/float64(seed), "ops/seed")
	b.ReportMetric(simulated.Seconds()/b.Elapsed().Seconds(), "sim-s/s")
}

// processor is the time that the process has had of it.
func processor() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
