package raft

import (
	"errors"
	"testing"
)

// damaged is n1 of three, whose disk lost what came after two entries, after both
// questions: the others hold logs up to 5/3.
func damaged(t *testing.T) *Core {
	t.Helper()
	c, err := New(Config{ID: "n1", Voters: []string{"n1", "n2", "n3"}, ElectionTicks: 10}, Restored{
		Hard: HardState{Term: 1}, Entries: entries(1, 1), Damage: errors.New("lost"),
	})
	if err != nil {
		t.Fatal(err)
	}
	answer := func(term uint64) {
		for _, from := range []string{"n2", "n3"} {
			c.Step(Message{Type: MsgRepairResp, From: from, To: "n1", Term: term, Nonce: c.nonce, Index: 5, LogTerm: 3})
		}
	}
	answer(3)
	if !c.lost.asking || c.Term() != 1 {
		t.Fatal("the second question is left out")
	}
	answer(c.lost.q.Floor)
	if c.lost.asking || c.Term() <= 3 {
		t.Fatalf("after both questions it is in term %d", c.Term())
	}
	c.quarantine = 0
	settle(c, MsgRepair)
	return c
}

// A damaged node votes as if it held what the others do, since they count on it, and
// stands for no election before it does.
func TestDamagedVote(t *testing.T) {
	for _, x := range []struct {
		index, logTerm uint64
		granted        bool
	}{{4, 3, false}, {9, 2, false}, {5, 3, true}, {1, 4, true}} {
		c := damaged(t)
		c.Step(vote(c.Term()+1, x.index, x.logTerm))
		if got := settle(c, MsgVoteResp); len(got) != 1 || got[0].Reject == x.granted {
			t.Errorf("a log up to %d/%d: %v", x.index, x.logTerm, got)
		}
	}
	c := damaged(t)
	for range 100 {
		c.Tick(0)
	}
	if c.Role() != Follower {
		t.Errorf("it is a %v", c.Role())
	}
}

// Until both questions are answered it takes part in nothing.
func TestDamagedIsSilent(t *testing.T) {
	c, err := New(Config{ID: "n1", Voters: []string{"n1", "n2", "n3"}, ElectionTicks: 10}, Restored{Damage: errors.New("lost")})
	if err != nil {
		t.Fatal(err)
	}
	c.Step(vote(9, 9, 9))
	c.Step(Message{Type: MsgAppend, From: "n2", To: "n1", Term: 9, Entries: entries(9)})
	if out := c.Output(); len(out.Messages) > 0 || out.Save != nil || c.LastIndex() > 0 {
		t.Errorf("it answers %v", out.Messages)
	}
	if _, err := New(Config{ID: "n1", Voters: []string{"n1"}, ElectionTicks: 10}, Restored{Damage: errors.New("lost")}); err == nil {
		t.Error("alone it starts with what is left")
	}
}
