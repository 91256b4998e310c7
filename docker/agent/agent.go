package agent

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
)

// rules is the packet filter of one network namespace.
type rules interface {
	// apply replaces the filter by this one, all at once.
	apply(f filter) error
	features() map[string]string
	close() error
}

// filter is what is to happen now, the union of all cuts and shapes.
type filter struct {
	peers []string
	// in and out are addresses, or Clients, whose packets are dropped.
	in, out []string
	// shapeIn and shapeOut degrade, in order; addresses may appear in several.
	shapeIn, shapeOut []shaped
}

// empty says that nothing is to happen.
func (f filter) empty() bool { return len(f.in)+len(f.out)+len(f.shapeIn)+len(f.shapeOut) == 0 }

type shaped struct {
	addr  string
	shape Shape
}

// hold is one cut or shape by its id.
type hold struct {
	in, out []string
	shape   *Shape // nil for a cut
}

// Agent holds the cuts and shapes of a node.
type Agent struct {
	rules rules
	// broken is why there are no rules.
	broken error
	probe  *probe

	mu    sync.Mutex
	peers []string
	ids   []string // in order of arrival, so that the filter is the same each time
	holds map[string]hold
}

// maxLine bounds a request.
const maxLine = 1 << 20

// Run serves requests from in until it ends or ctx is done, and then heals.
func Run(ctx context.Context, in io.Reader, out io.Writer) error {
	a := &Agent{holds: map[string]hold{}}
	a.rules, a.broken = newRules()
	var err error
	if a.probe, err = listen(); err != nil {
		return fmt.Errorf("agent: listen for datagrams: %w", err)
	}
	defer a.probe.close()
	err = a.serve(ctx, in, out)
	if a.rules != nil {
		err = errors.Join(err, a.rules.close())
	}
	return err
}

// serve answers line by line. The read that is under way when ctx ends is left
// behind, since the process ends with it.
func (a *Agent) serve(ctx context.Context, in io.Reader, out io.Writer) error {
	ctx, cancel := context.WithCancel(ctx)
	lines, failed := make(chan []byte), make(chan error, 1)
	go func() {
		s := bufio.NewScanner(in)
		s.Buffer(nil, maxLine)
		for s.Scan() {
			select {
			case lines <- slices.Clone(s.Bytes()):
			case <-ctx.Done():
				return
			}
		}
		failed <- s.Err()
	}()
	to := &answers{out: out}
	var forwarded sync.WaitGroup // they may take long, so the next request does not wait
	defer forwarded.Wait()
	defer cancel()
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-failed:
			return err
		case line := <-lines:
			var q Request
			if json.Unmarshal(line, &q) == nil && q.Op == OpForward {
				forwarded.Go(func() { _ = to.write(pass(ctx, q)) })
				continue
			}
			if err := to.write(a.answer(line)); err != nil {
				return err
			}
		}
	}
}

func (a *Agent) answer(line []byte) Response {
	var q Request
	if err := json.Unmarshal(line, &q); err != nil {
		return Response{Error: "not a request: " + err.Error()}
	}
	r := Response{N: q.N}
	err := a.do(q, &r)
	if err != nil {
		r.Error = err.Error()
	}
	return r
}

func (a *Agent) do(q Request, r *Response) error {
	switch q.Op {
	case OpSend:
		return a.probe.send(q.Token, q.Addrs, q.Probes)
	case OpCount:
		r.Counts = a.probe.count(q.Token)
		return nil
	case OpFeatures:
		r.Features = a.features()
		return nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	switch q.Op {
	case OpPeers:
		a.peers = q.Addrs
		a.probe.setPeers(q.Addrs)
		return nil
	case OpCut:
		a.put(q.ID, hold{in: q.In, out: q.Out})
	case OpShape:
		a.put(q.ID, hold{in: q.In, out: q.Out, shape: &q.Shape})
	case OpMend:
		if !a.drop(q.ID) {
			return nil
		}
	case OpHeld:
		r.IDs = slices.Clone(a.ids)
		return nil
	case OpHeal:
		if len(a.ids) == 0 {
			return nil
		}
		a.ids, a.holds = nil, map[string]hold{}
	default:
		return fmt.Errorf("unknown operation %q", q.Op)
	}
	if a.rules == nil {
		return a.broken
	}
	return a.rules.apply(a.filter())
}

func (a *Agent) features() map[string]string {
	if a.rules == nil {
		why := a.broken.Error()
		return map[string]string{FeatureCut: why, FeatureLoss: why, FeatureQueue: why, FeatureCopy: why, FeatureNetem: why}
	}
	return a.rules.features()
}

func (a *Agent) put(id string, h hold) {
	a.drop(id)
	a.ids = append(a.ids, id)
	a.holds[id] = h
}

func (a *Agent) drop(id string) bool {
	if _, ok := a.holds[id]; !ok {
		return false
	}
	delete(a.holds, id)
	a.ids = slices.DeleteFunc(a.ids, func(s string) bool { return s == id })
	return true
}

// filter is the union of what is held.
func (a *Agent) filter() filter {
	f := filter{peers: a.peers}
	for _, id := range a.ids {
		h := a.holds[id]
		if h.shape == nil {
			f.in, f.out = union(f.in, h.in), union(f.out, h.out)
			continue
		}
		for _, addr := range h.in {
			f.shapeIn = append(f.shapeIn, shaped{addr, *h.shape})
		}
		for _, addr := range h.out {
			f.shapeOut = append(f.shapeOut, shaped{addr, *h.shape})
		}
	}
	return f
}

func union(a, b []string) []string {
	for _, s := range b {
		if !slices.Contains(a, s) {
			a = append(a, s)
		}
	}
	return a
}
