package agent

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"syscall"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/xt"
	"golang.org/x/sys/unix"
)

// tableName is the agent's own table, in its own network namespace.
const tableName = "faultline"

// priority puts the chains before anything else that filters.
const priority = -200

const (
	// queueNumber is the queue to user space for headers, wholeNumber that for whole
	// packets.
	queueNumber = 7
	wholeNumber = 8
)

// nftRules are a table of two chains, which every change fills anew in one
// transaction.
type nftRules struct {
	conn    *nftables.Conn
	table   *nftables.Table
	in, out *nftables.Chain
	queue   *queue // nil until something is held back
	whole   *queue // nil until something is doubled or damaged
	netem   *netem // nil for a kernel without it
	noNetem error  // why
}

func newRules() (rules, error) {
	conn, err := nftables.New(nftables.AsLasting())
	if err != nil {
		return nil, fmt.Errorf("nf_tables: %w", err)
	}
	r := &nftRules{conn: conn}
	t := &nftables.Table{Family: nftables.TableFamilyIPv4, Name: tableName}
	conn.AddTable(t)
	conn.DelTable(t) // what an agent before this one left
	r.need()
	if err := conn.Flush(); err != nil { // whether this kernel can
		return nil, errors.Join(fmt.Errorf("nf_tables: %w", err), conn.CloseLasting())
	}
	if err := r.drop(); err != nil {
		return nil, errors.Join(err, conn.CloseLasting())
	}
	r.netem, r.noNetem = newNetem()
	return r, nil
}

// need adds the table and its chains to the transaction, where they are missing.
func (r *nftRules) need() {
	if r.table != nil {
		return
	}
	r.table = r.conn.AddTable(&nftables.Table{Family: nftables.TableFamilyIPv4, Name: tableName})
	accept := nftables.ChainPolicyAccept
	chain := func(name string, hook *nftables.ChainHook) *nftables.Chain {
		return r.conn.AddChain(&nftables.Chain{
			Name: name, Table: r.table, Type: nftables.ChainTypeFilter,
			Hooknum: hook, Priority: nftables.ChainPriorityRef(priority), Policy: &accept,
		})
	}
	r.in = chain("in", nftables.ChainHookInput)
	r.out = chain("out", nftables.ChainHookOutput)
}

// rest removes the rules, and the table too where no queue was ever needed: with it the
// kernel drops what waits in them, while chains without rules cost next to nothing.
func (r *nftRules) rest() error {
	if r.queue == nil && r.whole == nil || r.table == nil {
		return r.drop()
	}
	r.conn.FlushChain(r.in)
	r.conn.FlushChain(r.out)
	if err := r.conn.Flush(); err != nil {
		return fmt.Errorf("nf_tables: %w", err)
	}
	return nil
}

// drop removes the table, so that packets meet no hook of ours.
func (r *nftRules) drop() error {
	if r.table == nil {
		return nil
	}
	r.conn.DelTable(r.table)
	r.table, r.in, r.out = nil, nil, nil
	if err := r.conn.Flush(); err != nil {
		return fmt.Errorf("nf_tables: %w", err)
	}
	return nil
}

// close removes the table, and with it every rule.
func (r *nftRules) close() error {
	err := r.drop()
	if r.netem != nil {
		r.netem.clear()
	}
	for _, q := range []**queue{&r.queue, &r.whole} {
		if *q != nil {
			(*q).close()
			*q = nil
		}
	}
	return errors.Join(err, r.conn.CloseLasting())
}

func (r *nftRules) apply(f filter) error {
	if r.netem != nil {
		var err error
		if f, err = r.netem.apply(f); err != nil {
			return err
		}
	}
	if err := setQueue(&r.queue, f, false, Shape.queued); err != nil {
		return err
	}
	if err := setQueue(&r.whole, f, true, Shape.copied); err != nil {
		return err
	}
	if f.empty() {
		return r.rest()
	}
	fresh := r.table == nil
	r.need()
	r.conn.FlushChain(r.in)
	r.conn.FlushChain(r.out)
	r.fill(r.in, source, f.peers, f.in, f.shapeIn)
	r.fill(r.out, destination, f.peers, f.out, f.shapeOut)
	if err := r.conn.Flush(); err != nil {
		if fresh {
			r.table, r.in, r.out = nil, nil, nil // the whole transaction failed
		}
		return fmt.Errorf("nf_tables: %w", err)
	}
	return nil
}

// setQueue opens a queue to user space where a shape needs it. One that is open knows
// all shapes for good: what the rules handed to it before they changed may not be
// looked at yet.
func setQueue(at **queue, f filter, whole bool, needs func(Shape) bool) error {
	if *at == nil && slices.ContainsFunc(slices.Concat(f.shapeIn, f.shapeOut), func(s shaped) bool { return needs(s.shape) }) {
		q, err := openQueue(whole)
		if err != nil {
			return fmt.Errorf("packets in user space: %w", err)
		}
		*at = q
	}
	if *at != nil {
		(*at).set(f.peers, f.shapeIn, f.shapeOut)
	}
	return nil
}

// side is where in the header of a packet the other one's address stands.
type side uint32

const (
	source      side = 12
	destination side = 16
)

func (r *nftRules) fill(c *nftables.Chain, s side, peers, drop []string, shapes []shaped) {
	add := func(exprs []expr.Any) {
		r.conn.AddRule(&nftables.Rule{Table: r.table, Chain: c, Exprs: exprs})
	}
	for _, addr := range drop {
		add(append(match(addr, s, peers), &expr.Counter{}, &expr.Verdict{Kind: expr.VerdictDrop}))
	}
	var queued, copied []string
	for _, sh := range shapes {
		if sh.shape.copied() {
			copied = union(copied, []string{sh.addr})
		}
		if sh.shape.queued() {
			queued = union(queued, []string{sh.addr})
		}
		if sh.shape.Loss > 0 {
			add(append(match(sh.addr, s, peers), lose(sh.shape.Loss)...))
		}
	}
	if len(copied) > 0 {
		add(ownCopies())
	}
	for _, addr := range queued {
		number := uint16(queueNumber)
		if slices.Contains(copied, addr) {
			number = wholeNumber
		}
		add(append(match(addr, s, peers), &expr.Counter{}, toQueue(number)))
	}
}

// ownCopies lets the copies pass that the agent itself sends: they have been
// through the queue.
func ownCopies() []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyMARK, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binaryutil.NativeEndian.PutUint32(copyMark)},
		&expr.Verdict{Kind: expr.VerdictAccept},
	}
}

// match compares the other side's address. Clients are all that is no peer and
// does not stay within the node.
func match(addr string, s side, peers []string) []expr.Any {
	load := &expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: uint32(s), Len: 4}
	if addr != Clients {
		return []expr.Any{load, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: ipv4(addr)}}
	}
	key := expr.MetaKeyIIFNAME
	if s == destination {
		key = expr.MetaKeyOIFNAME
	}
	var lo [unix.IFNAMSIZ]byte
	copy(lo[:], "lo")
	out := []expr.Any{
		&expr.Meta{Key: key, Register: 1}, &expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: lo[:]},
		load,
	}
	for _, p := range peers {
		out = append(out, &expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: ipv4(p)})
	}
	return out
}

// lose drops by a random number.
func lose(p float64) []expr.Any {
	const modulus = 1 << 20
	return []expr.Any{
		&expr.Numgen{Register: 1, Modulus: modulus, Type: unix.NFT_NG_RANDOM},
		&expr.Byteorder{SourceRegister: 1, DestRegister: 1, Op: expr.ByteorderHton, Len: 4, Size: 4},
		&expr.Cmp{Op: expr.CmpOpLt, Register: 1, Data: binaryutil.BigEndian.PutUint32(uint32(p * modulus))},
		&expr.Counter{}, &expr.Verdict{Kind: expr.VerdictDrop},
	}
}

// toQueue hands the packet to user space; it passes when nobody is there. The
// older target is used since many kernels lack nf_tables' own.
func toQueue(number uint16) expr.Any {
	const bypass = 1
	b := make([]byte, 8) // struct xt_NFQ_info_v3, aligned to 8
	binary.NativeEndian.PutUint16(b[0:], number)
	binary.NativeEndian.PutUint16(b[2:], 1)
	binary.NativeEndian.PutUint16(b[4:], bypass)
	info := xt.Unknown(b)
	return &expr.Target{Name: "NFQUEUE", Rev: 3, Info: &info}
}

// ipv4 is addr as it stands in a packet; one that is none matches nothing.
func ipv4(addr string) []byte {
	ip, err := netip.ParseAddr(addr)
	if err != nil || !ip.Is4() {
		return make([]byte, 4)
	}
	return ip.AsSlice()
}

// queued says whether the shape needs user space.
func (s Shape) queued() bool {
	return s.Delay > 0 || s.Jitter > 0 || s.Reorder > 0 || s.Rate > 0 || s.copied()
}

// copied says whether it needs the whole packet there.
func (s Shape) copied() bool { return s.Duplicate > 0 || s.Corrupt > 0 }

// features tries each on an address of nobody's (TEST-NET-1) and takes it back.
func (r *nftRules) features() map[string]string {
	const nobody = "192.0.2.1"
	out := map[string]string{FeatureNetem: ""}
	if r.noNetem != nil {
		out[FeatureNetem] = r.noNetem.Error()
	}
	fresh := r.table == nil
	r.need()
	try := func(name string, exprs ...expr.Any) {
		r.conn.AddRule(&nftables.Rule{Table: r.table, Chain: r.in, Exprs: append(match(nobody, source, nil), exprs...)})
		out[name] = reason(r.conn.Flush())
	}
	// The rules stay until the next change where others are there, and match nothing.
	try(FeatureCut, &expr.Counter{}, &expr.Verdict{Kind: expr.VerdictDrop})
	try(FeatureLoss, lose(0)...)
	try(FeatureQueue, &expr.Counter{}, toQueue(queueNumber))
	opens := func(q *queue, whole bool) string {
		if out[FeatureQueue] != "" || q != nil {
			return out[FeatureQueue]
		}
		q, err := openQueue(whole)
		if err == nil {
			q.close()
		}
		return reason(err)
	}
	out[FeatureQueue] = opens(r.queue, false)
	out[FeatureCopy] = opens(r.whole, true)
	if fresh {
		_ = r.drop() // or at the next change
	}
	return out
}

// reason is "" for nil and else why this kernel cannot.
func reason(err error) string {
	switch {
	case err == nil:
		return ""
	case errors.Is(err, syscall.ENOENT), errors.Is(err, syscall.EOPNOTSUPP):
		return "this kernel is built without it"
	case errors.Is(err, syscall.EPERM):
		return "not permitted in this container (NET_ADMIN or NET_RAW is missing)"
	}
	return err.Error()
}
