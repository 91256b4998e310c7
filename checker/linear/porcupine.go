package linear

import (
	"cmp"
	"fmt"
	"math"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/faultline-dev/faultline/checker"
	"github.com/faultline-dev/faultline/checker/model"
	"github.com/faultline-dev/faultline/history"
)

// byPorcupine asks Porcupine: in a child process if the caller gave a way, else
// in this one, where its memory is not limited.
func (p *plan) byPorcupine(pt part) decision {
	d := decision{engine: Porcupine}
	if p.o.Porcupine == nil {
		v, err := RunPorcupine(pt.v.h, pt.v.ops, p.o.Model, p.remaining())
		if err != nil {
			return decision{engine: Porcupine, reason: err.Error()}
		}
		d.verdict = v
	} else {
		v, peak, err := p.o.Porcupine(p.b.ctx, Job{Model: p.o.Model.Name, History: pt.v.h, Ops: pt.v.ops, Cut: pt.v.cut, Memory: p.o.Memory / int64(p.workers())})
		_ = p.b.grow(peak)
		_ = p.b.grow(-peak)
		p.measured.Store(true)
		d.verdict = v
		if err != nil {
			d.reason = err.Error()
		}
	}
	if d.verdict == checker.Unknown {
		d.reason = fmt.Sprintf("no violation among the first 0 operations of %s, since porcupine does not tell how far it got; %s",
			keyName(pt.name), cmp.Or(d.reason, "the time limit was reached"))
	}
	if d.verdict == checker.Invalid && int(p.found.Load()) < p.o.MaxAnomalies {
		p.explainAny(pt, &d) // which counts
	}
	return d
}

// remaining is the time left, 0 for no limit.
func (p *plan) remaining() time.Duration {
	t, ok := p.b.ctx.Deadline()
	if !ok {
		return 0
	}
	return max(time.Millisecond, time.Until(t))
}

// RunPorcupine judges the given operations of h (nil for all) with Porcupine, in
// this process: its memory is not limited. A timeout of 0 is none.
func RunPorcupine(h *history.History, ops []int32, spec model.Spec, timeout time.Duration) (checker.Verdict, error) {
	p, err := newProblem(view{h: h, ops: ops, cut: h.Events()}, spec)
	if err != nil {
		return checker.Unknown, err
	}
	return porcupineVerdict(p, timeout), nil
}

func porcupineVerdict(p *problem, timeout time.Duration) checker.Verdict {
	switch porcupine.CheckOperationsTimeout(porcupineModel(p.m), porcupineOps(p), timeout) {
	case porcupine.Ok:
		return checker.Valid
	case porcupine.Illegal:
		return checker.Invalid
	case porcupine.Unknown:
	}
	return checker.Unknown
}

// porcupineOps are the operations as Porcupine takes them. Those of unknown fate
// return at the very end.
func porcupineOps(p *problem) []porcupine.Operation {
	ops := make([]porcupine.Operation, 0, len(p.must)+len(p.may))
	for i, e := range p.must {
		ops = append(ops, porcupine.Operation{ClientId: i, Input: e.op, Call: e.inv, Return: e.ret})
	}
	for i, e := range p.may {
		ops = append(ops, porcupine.Operation{ClientId: len(p.must) + i, Input: indeterminate(e.op), Call: e.inv, Return: math.MaxInt64})
	}
	return ops
}

// indeterminate operations take effect where they can and do nothing where they
// cannot. As Porcupine may put them at the end, where nobody looks, that is the
// same as leaving them out.
type indeterminate model.Op

func porcupineModel(m model.Machine) porcupine.Model {
	return porcupine.Model{
		Init: func() any { return m.Init() },
		Step: func(state, input, _ any) (bool, any) {
			s, _ := state.(model.State)
			switch op := input.(type) {
			case model.Op:
				to, ok := m.Step(s, op)
				return ok, to
			case indeterminate:
				if to, ok := m.Step(s, model.Op(op)); ok {
					return true, to
				}
			}
			return true, s
		},
		Equal: func(a, b any) bool { return a == b },
		Hash: func(state any) uint64 {
			s, _ := state.(model.State)
			return mix(uint64(s)) //nolint:gosec // bits
		},
	}
}
