package raft

import (
	"slices"
	"testing"
	"time"
)

// entries makes a log from the terms of its entries.
func entries(terms ...uint64) []Entry {
	var e []Entry
	for i, t := range terms {
		e = append(e, Entry{Index: uint64(i + 1), Term: t})
	}
	return e
}

// newNode is n1 of three with a log of these terms, in the last of them, with no
// vote given and its quarantine after the restart over.
func newNode(t *testing.T, terms ...uint64) *Core {
	t.Helper()
	r := Restored{Entries: entries(terms...)}
	if len(terms) > 0 {
		r.Hard.Term = terms[len(terms)-1]
	}
	c, err := New(Config{ID: "n1", Voters: []string{"n1", "n2", "n3"}, ElectionTicks: 10, NoPreVote: true}, r)
	if err != nil {
		t.Fatal(err)
	}
	c.quarantine = 0
	return c
}

// settle lets the disk finish, and returns all messages of a type.
func settle(c *Core, want Type) []Message {
	var all []Message
	for range 3 {
		out := c.Output()
		all = append(all, out.Messages...)
		c.Persisted(c.seq)
	}
	return slices.DeleteFunc(all, func(m Message) bool { return m.Type != want })
}

// elect makes the node the leader of the next term, with n2's vote.
func elect(t *testing.T, c *Core) {
	t.Helper()
	c.campaign(false, false)
	settle(c, MsgVote)
	c.Step(Message{Type: MsgVoteResp, From: "n2", To: "n1", Term: c.Term(), Nonce: c.nonce})
	if c.Role() != Leader {
		t.Fatalf("with a majority of votes the node is a %v", c.Role())
	}
}

func vote(term, index, logTerm uint64) Message {
	return Message{Type: MsgVote, From: "n2", To: "n1", Term: term, Index: index, LogTerm: logTerm}
}

// Raft §5.4.1: a vote goes only to a log at least as up-to-date.
func TestVoteNeedsUpToDateLog(t *testing.T) {
	for _, x := range []struct {
		name           string
		index, logTerm uint64
		granted        bool
	}{
		{"the same log", 3, 2, true},
		{"a longer log of the same term", 4, 2, true},
		{"a shorter log of the same term", 2, 2, false},
		{"a shorter log of a later term", 1, 3, true},
		{"a longer log of an earlier term", 9, 1, false},
	} {
		c := newNode(t, 1, 2, 2)
		c.Step(vote(5, x.index, x.logTerm))
		got := settle(c, MsgVoteResp)
		if len(got) != 1 || got[0].Reject == x.granted {
			t.Errorf("%s: %v", x.name, got)
		}
	}
}

// Raft §5.2: one vote a term; the same candidate gets the same answer again.
func TestOneVoteATerm(t *testing.T) {
	c := newNode(t, 1)
	c.Step(vote(2, 1, 1))
	again := vote(2, 1, 1)
	c.Step(again)
	other := vote(2, 9, 1)
	other.From = "n3"
	c.Step(other)
	var no []string
	for _, m := range settle(c, MsgVoteResp) {
		if m.Reject {
			no = append(no, m.To)
		}
	}
	if !slices.Equal(no, []string{"n3"}) {
		t.Errorf("refused: %v", no)
	}
}

// Raft figure 2: votes and acknowledgements wait for the disk.
func TestPromisesWaitForTheDisk(t *testing.T) {
	c := newNode(t, 1)
	c.Step(vote(2, 1, 1))
	if out := c.Output(); len(out.Messages) != 0 || out.Save == nil || out.Save.Hard.Vote != "n2" {
		t.Errorf("before the disk is done: %+v", out)
	}
	c.Persisted(1)
	if got := c.Output().Messages; len(got) != 1 || got[0].Type != MsgVoteResp {
		t.Errorf("after: %v", got)
	}
	c.Step(Message{Type: MsgAppend, From: "n2", To: "n1", Term: 2, Index: 1, LogTerm: 1, Entries: []Entry{{Index: 2, Term: 2}}})
	if got := c.Output().Messages; len(got) != 0 {
		t.Errorf("an entry is acknowledged before it is on disk: %v", got)
	}
	c.Persisted(2)
	if got := c.Output().Messages; len(got) != 1 || got[0].Index != 2 {
		t.Errorf("after: %v", got)
	}
}

// Raft §5.2: a candidate's own vote counts when it is on disk.
func TestOwnVoteWaitsForTheDisk(t *testing.T) {
	c := newNode(t)
	c.campaign(false, false)
	c.Output()
	c.Step(Message{Type: MsgVoteResp, From: "n2", To: "n1", Term: 1, Nonce: c.nonce})
	if c.Role() == Leader {
		t.Error("the node leads before its vote is on disk")
	}
	c.Persisted(c.seq)
	if c.Role() != Leader {
		t.Error("the node doesn't lead after")
	}
}

// Raft §5.3 and figure 7: what a follower does with entries.
func TestAppend(t *testing.T) {
	for _, x := range []struct {
		name        string
		have        []uint64
		prev, prevT uint64
		add         []Entry
		reject      bool
		last, lastT uint64
	}{
		{"a heartbeat", []uint64{1, 1}, 2, 1, nil, false, 2, 1},
		{"an entry that follows", []uint64{1}, 1, 1, []Entry{{2, 4, 0, nil}}, false, 2, 4},
		{"a gap", []uint64{1}, 2, 1, []Entry{{3, 4, 0, nil}}, true, 1, 1},
		{"another term before", []uint64{1, 2}, 2, 3, []Entry{{3, 4, 0, nil}}, true, 2, 2},
		{"a conflict is cut", []uint64{1, 2, 2}, 1, 1, []Entry{{2, 4, 0, nil}}, false, 2, 4},
		{"a late message cuts nothing", []uint64{1, 2, 2}, 1, 1, []Entry{{2, 2, 0, nil}}, false, 3, 2},
	} {
		c := newNode(t, x.have...)
		c.Step(Message{Type: MsgAppend, From: "n2", To: "n1", Term: 4, Index: x.prev, LogTerm: x.prevT, Entries: x.add})
		got := settle(c, MsgAppendResp)
		if len(got) != 1 || got[0].Reject != x.reject || c.LastIndex() != x.last || c.log.lastTerm() != x.lastT {
			t.Errorf("%s: %v, log ends at %d/%d", x.name, got, c.LastIndex(), c.log.lastTerm())
		}
	}
}

// Raft figure 2, AppendEntries 5: the commit index goes no further than what the
// leader is known to have in common.
func TestCommitOnlyWhatMatches(t *testing.T) {
	c := newNode(t, 1, 1, 1)
	c.Step(Message{Type: MsgAppend, From: "n2", To: "n1", Term: 2, Index: 1, LogTerm: 1, Commit: 3})
	if c.Commit() != 1 {
		t.Errorf("committed up to %d", c.Commit())
	}
}

// Raft §5.4.2, figure 8: entries of earlier terms aren't committed by counting.
func TestCommitOnlyOwnTermByCounting(t *testing.T) {
	c := newNode(t, 1, 2)
	elect(t, c)
	settle(c, MsgAppend)
	ack := Message{Type: MsgAppendResp, From: "n2", To: "n1", Term: 3, Index: 2}
	c.Step(ack)
	if c.Commit() != 0 {
		t.Errorf("committed up to %d by counting an earlier term", c.Commit())
	}
	ack.Index = 3
	c.Step(ack)
	if c.Commit() != 3 {
		t.Errorf("committed up to %d, with an entry of the term on a majority", c.Commit())
	}
}

// Diss. §10.2.1: a leader may count followers before its own disk is done, but its
// own copy only after.
func TestOwnCopyWaitsForTheDisk(t *testing.T) {
	c := newNode(t)
	elect(t, c)
	c.Output()
	ack := Message{Type: MsgAppendResp, From: "n2", To: "n1", Term: 1, Index: 1}
	c.Step(ack)
	if c.Commit() != 0 {
		t.Error("committed with one copy on disk")
	}
	ack.From = "n3"
	c.Step(ack)
	if c.Commit() != 1 {
		t.Error("not committed with a majority of followers")
	}
}

// Raft §5.1: a leader of an old term steps down, and isn't obeyed.
func TestOldTerms(t *testing.T) {
	c := newNode(t, 1)
	elect(t, c)
	settle(c, MsgAppend)
	c.Step(Message{Type: MsgAppend, From: "n3", To: "n1", Term: 1, Index: 1, LogTerm: 1})
	if got := settle(c, MsgAppendResp); len(got) != 1 || !got[0].Reject || got[0].Term != 2 || c.Role() != Leader {
		t.Errorf("to an old leader: %v", got)
	}
	c.Step(Message{Type: MsgAppendResp, From: "n3", To: "n1", Term: 3, Reject: true})
	if c.Role() != Follower || c.Term() != 3 {
		t.Errorf("after a later term: %v of term %d", c.Role(), c.Term())
	}
}

// Raft §8: a read waits for a majority to answer a round begun after it, and for
// the first entry of the term.
func TestReadIndex(t *testing.T) {
	c := newNode(t, 1)
	elect(t, c)
	settle(c, MsgAppend)
	before := c.round
	if err := c.ReadIndex(7); err != nil {
		t.Fatal(err)
	}
	ack := Message{Type: MsgAppendResp, From: "n2", To: "n1", Term: 2, Index: 2, Round: before}
	c.Step(ack)
	if out := c.Output(); len(out.Reads) != 0 {
		t.Errorf("an answer to an earlier round serves the read: %v", out.Reads)
	}
	ack.Round = c.round
	c.Step(ack)
	if out := c.Output(); len(out.Reads) != 1 || out.Reads[0] != (Read{ID: 7, Index: 2}) {
		t.Errorf("reads: %v", out.Reads)
	}
}

// Diss. §6.4.1: under a lease a read needs no messages; the lease ends before an
// election can.
func TestLease(t *testing.T) {
	c := newNode(t, 1)
	c.Tick(time.Second)
	elect(t, c)
	settle(c, MsgAppend)
	c.Step(Message{Type: MsgAppendResp, From: "n2", To: "n1", Term: 2, Index: 2, Round: c.round, Sent: int64(time.Second)})
	settle(c, MsgAppend)
	for _, x := range []struct {
		after time.Duration
		held  bool
	}{{50 * time.Millisecond, true}, {74 * time.Millisecond, true}, {76 * time.Millisecond, false}} {
		c.SetClock(time.Second + x.after)
		if err := c.LeaseRead(1); err != nil {
			t.Fatal(err)
		}
		if held := len(c.Output().Reads) == 1; held != x.held {
			t.Errorf("after %v: lease held: %v", x.after, held)
		}
	}
}

// Diss. §4.2.3: a node that hears a leader doesn't let others disturb it, unless
// the leader itself asked for the election (diss. §3.10).
func TestLeaderIsNotDisturbed(t *testing.T) {
	c := newNode(t, 1)
	c.Step(Message{Type: MsgAppend, From: "n3", To: "n1", Term: 1, Index: 1, LogTerm: 1})
	settle(c, MsgAppendResp)
	c.Step(vote(2, 1, 1))
	if got := settle(c, MsgVoteResp); len(got) != 0 || c.Term() != 1 {
		t.Errorf("answered %v in term %d", got, c.Term())
	}
	m := vote(2, 1, 1)
	m.Force = true
	c.Step(m)
	if got := settle(c, MsgVoteResp); len(got) != 1 || got[0].Reject {
		t.Errorf("to a transfer's candidate: %v", got)
	}
}

// Diss. §6.2: a leader that hears from no majority steps down.
func TestCheckQuorum(t *testing.T) {
	c := newNode(t)
	elect(t, c)
	for range 2 * c.cfg.ElectionTicks {
		c.Tick(0)
	}
	if c.Role() == Leader {
		t.Error("a leader that is cut off goes on leading")
	}
}

// Diss. §9.6: a pre-vote raises nobody's term.
func TestPreVoteRaisesNoTerm(t *testing.T) {
	c := newNode(t, 1)
	m := vote(2, 1, 1)
	m.Type = MsgPreVote
	c.Step(m)
	if got := settle(c, MsgPreVoteResp); len(got) != 1 || got[0].Reject || got[0].Term != 2 || c.Term() != 1 {
		t.Errorf("answered %v in term %d", got, c.Term())
	}
}

// Diss. §4.1: one node at a time, after the change before is committed, and an
// entry of this term.
func TestMembership(t *testing.T) {
	c := newNode(t)
	elect(t, c)
	settle(c, MsgAppend)
	four := []string{"n1", "n2", "n3", "n4"}
	propose := func(v []string) error { _, _, err := c.ProposeVoters(v); return err }
	if propose(four) == nil {
		t.Error("taken before an entry of the term is committed")
	}
	c.Step(Message{Type: MsgAppendResp, From: "n2", To: "n1", Term: 1, Index: 1})
	if propose([]string{"n1"}) == nil {
		t.Error("two nodes at a time are taken")
	}
	if err := propose(four); err != nil {
		t.Error(err)
	}
	if c.quorum() != 3 {
		t.Errorf("a quorum of four is %d, as soon as they are in the log", c.quorum())
	}
	if propose([]string{"n1", "n2", "n3"}) == nil {
		t.Error("taken while the last change isn't committed")
	}
}

// Diss. §4.2.2: a node that a change takes out of the membership still starts
// elections until it knows that to be committed, without a vote of its own.
func TestNodeOnItsWayOutCampaigns(t *testing.T) {
	c := newNode(t)
	elect(t, c)
	settle(c, MsgAppend)
	c.Step(Message{Type: MsgAppendResp, From: "n2", To: "n1", Term: 1, Index: 1})
	index, _, err := c.ProposeVoters([]string{"n2", "n3"})
	if err != nil {
		t.Fatal(err)
	}
	c.becomeFollower(c.term, "")
	asks := func() bool {
		for range 2 * c.cfg.ElectionTicks {
			c.Tick(0)
			if len(settle(c, MsgVote)) > 0 {
				return true
			}
		}
		return false
	}
	if !asks() {
		t.Fatal("it leaves those behind who lack its log")
	}
	answer := func(from string) {
		c.Step(Message{Type: MsgVoteResp, From: from, To: "n1", Term: c.Term(), Nonce: c.nonce})
	}
	if answer("n2"); c.Role() == Leader {
		t.Error("one of two votes is no majority")
	}
	if answer("n3"); c.Role() != Leader {
		t.Error("both have voted for it")
	}
	c.becomeFollower(c.term, "")
	c.commitTo(index)
	if asks() {
		t.Error("it asks for votes when it is out")
	}
}

// Diss. §3.10: the target is told to start when it has the whole log.
func TestTransfer(t *testing.T) {
	c := newNode(t)
	elect(t, c)
	settle(c, MsgAppend)
	if err := c.Transfer("n2"); err != nil {
		t.Fatal(err)
	}
	if _, _, err := c.Propose([]byte("x")); err == nil {
		t.Error("a proposal is taken during a transfer")
	}
	if got := settle(c, MsgTimeoutNow); len(got) != 0 {
		t.Errorf("too early: %v", got)
	}
	c.Step(Message{Type: MsgAppendResp, From: "n2", To: "n1", Term: 1, Index: 1})
	if got := settle(c, MsgTimeoutNow); len(got) != 1 || got[0].To != "n2" {
		t.Errorf("with the whole log: %v", got)
	}
}

// Raft §7: a follower that lags behind the snapshot gets it in chunks, in order,
// and a lost one again.
func TestSnapshot(t *testing.T) {
	leader := newNode(t)
	leader.cfg.SnapshotChunk = 4
	elect(t, leader)
	settle(leader, MsgAppend)
	leader.Step(Message{Type: MsgAppendResp, From: "n2", To: "n1", Term: 1, Index: 1})
	leader.Output()
	leader.Compact(1, []byte("0123456789"))
	leader.Step(Message{Type: MsgAppendResp, From: "n3", To: "n1", Term: 1, Index: 1, Reject: true, Hint: 0})

	f, err := New(Config{ID: "n3", Voters: []string{"n1", "n2", "n3"}, ElectionTicks: 10}, Restored{})
	if err != nil {
		t.Fatal(err)
	}
	sent, restored := 0, ""
	for i := 0; i < 20 && restored == ""; i++ {
		leader.needRound = true
		for _, m := range settle(leader, MsgSnap) {
			if sent++; sent == 2 {
				continue // lost
			}
			f.Step(m)
		}
		out := f.Output()
		if out.Snapshot != nil {
			restored = string(out.Snapshot.Data)
		}
		f.Persisted(f.seq)
		for _, m := range append(out.Messages, f.Output().Messages...) {
			leader.Step(m)
		}
	}
	if restored != "0123456789" || f.Commit() != 1 {
		t.Errorf("restored %q, committed %d", restored, f.Commit())
	}
	if p := leader.peer("n3"); p.match != 1 {
		t.Errorf("the leader takes the follower to be at %d", p.match)
	}
}
