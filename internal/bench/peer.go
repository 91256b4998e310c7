package main

import (
	"math"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/faultline-dev/faultline/checker/model"
	"github.com/faultline-dev/faultline/history"
)

// input is an operation as Porcupine is given it. One of unknown fate takes
// effect where it can and does nothing where it cannot; it returns at the end.
type input struct {
	op  model.Op
	key int
	may bool
	m   model.Machine // the key's own: Porcupine judges keys at the same time
}

// peer is a history as Porcupine takes it. Making it is not timed.
type peer struct {
	model porcupine.Model
	ops   []porcupine.Operation
}

func newPeer(h *history.History, spec model.Spec) (*peer, error) {
	machines := make([]model.Machine, len(h.Keys()))
	for k := range machines {
		machines[k] = spec.New(h)
	}
	p := &peer{ops: make([]porcupine.Operation, 0, h.Len())}
	for i := range h.Len() {
		m := machines[h.KeyID(i)]
		op, fate, err := m.Decode(i)
		if err != nil {
			return nil, err
		}
		if fate == model.Drop {
			continue
		}
		o := porcupine.Operation{
			ClientId: int(h.Process(i)), Input: input{op, h.KeyID(i), fate == model.May, m}, Call: int64(h.Invoke(i)), Return: int64(h.Return(i)),
		}
		if fate == model.May {
			o.Return = math.MaxInt64
		}
		p.ops = append(p.ops, o)
	}
	p.model = porcupine.Model{
		Init: func() any { return machines[0].Init() },
		Step: func(state, in, _ any) (bool, any) {
			s, _ := state.(model.State)
			x, _ := in.(input)
			if to, ok := x.m.Step(s, x.op); ok {
				return true, to
			}
			return x.may, s
		},
	}
	if len(h.Keys()) > 1 {
		p.model.Partition = byKey
	}
	return p, nil
}

func byKey(ops []porcupine.Operation) [][]porcupine.Operation {
	keys := map[int]int{}
	var parts [][]porcupine.Operation
	for _, o := range ops {
		in, _ := o.Input.(input)
		k, ok := keys[in.key]
		if !ok {
			k = len(parts)
			keys[in.key] = k
			parts = append(parts, nil)
		}
		parts[k] = append(parts[k], o)
	}
	return parts
}

// once is Porcupine's verdict and the time for it. Its operations are made
// anew each time and dropped, so that it gains nothing from steps that it made
// before, and nobody else pays for collecting them.
func once(h *history.History, spec model.Spec, o options) (porcupine.CheckResult, time.Duration, error) {
	p, err := newPeer(h, spec)
	if err != nil {
		return porcupine.Unknown, 0, err
	}
	said, t := p.check(o)
	return said, t, nil
}

// check times Porcupine.
func (p *peer) check(o options) (porcupine.CheckResult, time.Duration) {
	start := o.now()
	r := porcupine.CheckOperationsTimeout(p.model, p.ops, o.limit)
	return r, o.now() - start
}
