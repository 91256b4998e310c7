package raft

import (
	"fmt"
	"slices"

	"github.com/faultline-dev/faultline/stores/kv"
)

// Bug is one broken line of the protocol, for the harness to find. The zero value
// is none.
type Bug uint8

// The core's and the replica's bugs. Catalogue says what each breaks.
const (
	BugNone Bug = iota
	BugStaleRead
	BugAckBeforeCommit
	BugForgetTerm
	BugDoubleVote
	BugVoteAnyLog
	BugCommitOldTerm
	BugCommitNoQuorum
	BugCommitUnchecked
	BugApplyBeforeCommit
	BugRestartApplies
	BugAckBeforeSync
	BugFollowerRead
	BugReadBeforeNoop
	BugLeaseDrift
	BugNoStepDown
	BugAppendTruncates
	BugNoLogCheck
	BugSnapshotLosesTail
	BugDuplicateForward
	BugFalseDefinite
	BugOnePhase
)

// BugInfo describes a switch of the bug catalogue.
type BugInfo struct {
	Name     string   // for --bug
	Doc      string   // what the code does wrong
	Rule     string   // the rule it breaks, and who states it
	Workload string   // the workload that shows it
	Expects  []string // anomalies, any of which counts as found
	Nemesis  string   // the faults that bring it out, as in --nemesis
	Options  []string // what else the run needs, as key=value of --opt
	SimOnly  bool     // real processes don't show it: it needs a machine to crash

	bug Bug
	kv  kv.Bug
}

// Core is the broken line of the core or the replica; BugNone if it is elsewhere.
func (b BugInfo) Core() Bug { return b.bug }

// Machine is the broken line of the state machine; kv.BugNone if it is elsewhere.
func (b BugInfo) Machine() kv.Bug { return b.kv }

// Catalogue lists every bug of the Raft store, in the order of the docs.
func Catalogue() []BugInfo {
	return slices.Concat(electionBugs(), commitBugs(), readBugs(), logBugs(), requestBugs(), machineBugs())
}

// invariants are Raft's own (figure 3), which a simulator sees before any client
// does.
func invariants() []string {
	return []string{"election-safety", "log-matching", "leader-completeness", "state-machine-safety"}
}

// lost are the anomalies of a write that was acknowledged and is gone.
func lost() []string {
	return append([]string{"lost-write", "stale-read", "nonlinearizable"}, invariants()...)
}

// stale are the anomalies of a read that is too old.
func stale() []string { return []string{"stale-read", "nonlinearizable"} }

// diverged are those of replicas that hold different states.
func diverged() []string {
	return append([]string{"lost-write", "stale-read", "aborted-read", "phantom-read", "nonlinearizable", "diverged"}, invariants()...)
}

func electionBugs() []BugInfo {
	return []BugInfo{
		{
			Name: "forget-term", bug: BugForgetTerm,
			Doc:      "A node saves neither its term nor its vote: after a restart it takes part in terms that it had left. (Switches pre-vote and check-quorum off, which hide it, mostly.)",
			Rule:     "Raft figure 2, persistent state: currentTerm and votedFor are on stable storage before a node responds.",
			Workload: "register", Nemesis: "restart:all", Options: []string{"restart.interval=1s"}, Expects: diverged(),
		},
		{
			Name: "double-vote", bug: BugDoubleVote,
			Doc:      "A node gives its vote to every candidate of a term that asks.",
			Rule:     "Raft §5.2: each server votes for at most one candidate in a term, first come first served.",
			Workload: "register", Nemesis: "partition,kill", Expects: diverged(),
		},
		{
			Name: "vote-any-log", bug: BugVoteAnyLog,
			Doc:      "A node votes for candidates whose log lacks entries of its own. (Switches pre-vote and check-quorum off, which hide it, mostly.)",
			Rule:     "Raft §5.4.1: the voter denies its vote if its own log is more up-to-date than the candidate's.",
			Workload: "register", Nemesis: "kill:leader,partition", Options: []string{"kill.interval=600ms", "partition.interval=600ms"}, Expects: lost(),
		},
		{
			Name: "no-step-down", bug: BugNoStepDown,
			Doc:      "A leader that learns of a higher term takes it over as its own and goes on leading.",
			Rule:     "Raft §5.1: a leader that discovers that its term is out of date reverts to follower.",
			Workload: "register", Nemesis: "partition,kill", Expects: diverged(),
		},
		{
			Name: "one-phase-membership", bug: BugOnePhase,
			Doc:      "The membership changes by any number of nodes at once, and while the last change isn't committed.",
			Rule:     "Diss. §4.1: one server is added or removed at a time, so that majorities of old and new overlap.",
			Workload: "register", Nemesis: "member,partition", Expects: diverged(),
		},
	}
}

func commitBugs() []BugInfo {
	return []BugInfo{
		{
			Name: "ack-before-commit", bug: BugAckBeforeCommit,
			Doc:      "A leader acknowledges a write once it is in its own log, before a majority has it.",
			Rule:     "Raft §5.3: the leader applies an entry and returns the result when it has been safely replicated.",
			Workload: "register", Nemesis: "partition,kill", Expects: lost(),
		},
		{
			Name: "ack-before-fsync", bug: BugAckBeforeSync, SimOnly: true,
			Doc:      "Nodes acknowledge entries, and a leader counts its own copy, before they are on disk.",
			Rule:     "Raft figure 2: persistent state is updated on stable storage before responding to RPCs.",
			Workload: "register", Nemesis: "kill,disk:lose-unsynced", Expects: lost(),
		},
		{
			Name: "commit-old-term", bug: BugCommitOldTerm,
			Doc:      "A new leader takes the entries of earlier terms in its log as committed, without an entry of its own term on a majority. (Switches pre-vote and check-quorum off, which hide it, mostly.)",
			Rule:     "Raft §5.4.2 and figure 8: only entries of the leader's current term are committed by counting replicas.",
			Workload: "register", Nemesis: "delay:all,restart:leader,partition", Options: []string{"delay.for=8s", "delay.by=100ms", "restart.interval=500ms", "partition.interval=500ms"}, Expects: lost(),
		},
		{
			Name: "commit-no-quorum", bug: BugCommitNoQuorum,
			Doc:      "An entry is committed with one copy less than a majority.",
			Rule:     "Raft §5.3: an entry is committed once the leader has replicated it on a majority of the servers.",
			Workload: "register", Nemesis: "partition,kill", Expects: lost(),
		},
		{
			Name: "commit-unchecked", bug: BugCommitUnchecked,
			Doc:      "A follower takes over the leader's commit index before it knows that its own log matches.",
			Rule:     "Raft figure 2, AppendEntries 5: commitIndex = min(leaderCommit, index of last new entry).",
			Workload: "register", Nemesis: "partition,kill", Expects: diverged(),
		},
		{
			Name: "apply-before-commit", bug: BugApplyBeforeCommit,
			Doc:      "Nodes apply entries as soon as they are in their log.",
			Rule:     "Raft §5.3: a server applies an entry to its state machine once it learns that it is committed.",
			Workload: "register", Nemesis: "partition,kill", Expects: diverged(),
		},
		{
			Name: "restart-applies-log", bug: BugRestartApplies,
			Doc:      "A node that starts takes its whole log as committed.",
			Rule:     "Raft figure 2: commitIndex is volatile, initialized to 0, and learnt from the leader.",
			Workload: "register", Nemesis: "restart:leader,partition", Options: []string{"restart.interval=500ms", "partition.interval=700ms"}, Expects: diverged(),
		},
	}
}

func readBugs() []BugInfo {
	return []BugInfo{
		{
			Name: "stale-read", bug: BugStaleRead,
			Doc:      "A leader answers reads from its own state, without asking a quorum whether it still leads, and goes on doing so when it is cut off.",
			Rule:     "Raft §8: a leader must exchange heartbeats with a majority before it responds to a read-only request.",
			Workload: "register", Nemesis: "partition,kill", Expects: stale(),
		},
		{
			Name: "follower-read", bug: BugFollowerRead,
			Doc:      "Every node answers linearizable reads from what it has applied.",
			Rule:     "Diss. §6.4: a follower must ask the leader for a read index, and wait until it has applied that far.",
			Workload: "register", Nemesis: "partition,kill", Expects: stale(),
		},
		{
			Name: "read-before-noop", bug: BugReadBeforeNoop,
			Doc:      "A new leader serves reads before an entry of its term is committed, from a commit index that may be behind.",
			Rule:     "Raft §8: a leader must have the latest information on which entries are committed; it commits a no-op first.",
			Workload: "register", Nemesis: "partition,kill", Expects: stale(),
		},
		{
			Name: "lease-drift", bug: BugLeaseDrift,
			Doc:      "A leader serves reads under a lease three times as long as the election timeout, as if its clock ran at a third of the others' speed.",
			Rule:     "Diss. §6.4.1: a lease lasts for the election timeout divided by the clock drift bound.",
			Workload: "register", Nemesis: "partition,kill", Expects: stale(),
		},
	}
}

func logBugs() []BugInfo {
	return []BugInfo{
		{
			Name: "append-truncates", bug: BugAppendTruncates,
			Doc:      "A follower cuts its log behind every message's entries, heartbeats among them, also when nothing conflicts: a late message removes what a later one brought. (Rare: the leader must fail before it sends again.)",
			Rule:     "Raft figure 2, AppendEntries 3: entries are deleted only if an existing entry conflicts with a new one.",
			Workload: "register", Nemesis: "duplicate:all,reorder:all,kill:leader", Options: []string{"duplicate.for=8s", "duplicate.p=0.5", "reorder.for=8s", "reorder.p=0.3", "kill.interval=700ms"}, Expects: lost(),
		},
		{
			Name: "no-log-check", bug: BugNoLogCheck,
			Doc:      "A follower adds entries whatever the term of the entry before them.",
			Rule:     "Raft §5.3, AppendEntries 2: a follower refuses entries unless its log has prevLogIndex with prevLogTerm.",
			Workload: "register", Nemesis: "partition,kill", Expects: diverged(),
		},
		{
			Name: "snapshot-loses-tail", bug: BugSnapshotLosesTail,
			Doc:      "Taking a snapshot drops the entries after it as well.",
			Rule:     "Raft §7: a snapshot replaces the committed entries up to its last included index, and no others.",
			Workload: "register", Nemesis: "partition,kill", Expects: diverged(),
		},
		{
			Name: "snapshot-loses-sessions", kv: kv.BugSessionsLost,
			Doc:      "A snapshot doesn't hold the clients' sessions: a retry that follows is taken for new. (Switches on that nodes send commands again under sessions of their own.)",
			Rule:     "Diss. §6.3: the sessions are part of the state machine, and of its snapshots.",
			Workload: "register", Nemesis: "restart:leader,loss:all", Options: []string{"loss.for=8s", "loss.p=0.2", "restart.interval=700ms"},
			Expects: []string{"stale-read", "lost-write", "aborted-read", "nonlinearizable"},
		},
	}
}

func requestBugs() []BugInfo {
	return []BugInfo{
		{
			Name: "duplicate-apply", kv: kv.BugDuplicate,
			Doc:      "A command that is twice in the log is applied twice, although its session shows that it is the same. (Switches on that nodes send commands again under sessions of their own.)",
			Rule:     "Raft §8: the state machine tracks the latest serial number of each client, and answers a repeated one without executing it again.",
			Workload: "register", Nemesis: "partition,kill",
			Expects: []string{"stale-read", "lost-write", "aborted-read", "nonlinearizable"},
		},
		{
			Name: "duplicate-forward", bug: BugDuplicateForward,
			Doc:      "A leader takes a forwarded request as often as the network delivers it.",
			Rule:     "Raft §8: a command that reaches the leader again must not be executed a second time.",
			Workload: "register", Nemesis: "duplicate,delay", Expects: []string{"stale-read", "nonlinearizable", "lost-write", "aborted-read"},
		},
		{
			Name: "false-definite", bug: BugFalseDefinite,
			Doc:      "A request that gets no answer in time is reported as certainly without effect.",
			Rule:     "Raft §8: if the leader crashes after committing the entry but before responding, the client can't know; only proof makes a failure definite.",
			Workload: "register", Nemesis: "partition,kill", Expects: []string{"aborted-read", "nonlinearizable"},
		},
	}
}

func machineBugs() []BugInfo {
	return []BugInfo{
		{
			Name: "cas-not-atomic", kv: kv.BugCASBlind,
			Doc:      "The leader compares when it takes a CAS, and the state machine only sets: what comes in between is overwritten.",
			Rule:     "Herlihy (1991): compare-and-swap compares and sets in one indivisible step.",
			Workload: "register", Nemesis: "partition,kill", Expects: []string{"nonlinearizable", "lost-write", "stale-read"},
		},
		{
			Name: "lock-early", kv: kv.BugLockEarly,
			Doc:      "A lock is granted to another when half of its holder's lease has passed.",
			Rule:     "Gray and Cheriton (1989): until a lease's term ends, no conflicting one is granted.",
			Workload: "lock", Nemesis: "pause:clients", Options: []string{"recipe=lease"}, Expects: []string{"double-hold", "lost-update-under-lock"},
		},
		{
			Name: "fence-stuck", kv: kv.BugFenceStuck,
			Doc:      "A new holder of a lock gets the fencing token of the holder before.",
			Rule:     "Burrows (2006), Chubby §2.4: the generation number grows with each transition of the lock from free to held.",
			Workload: "lock", Nemesis: "pause:clients", Options: []string{"recipe=fenced"}, Expects: []string{"fence-regression", "lost-update-under-lock"},
		},
		{
			Name: "fence-unchecked", kv: kv.BugFenceUnchecked,
			Doc:      "Writes under a lock are taken with any fencing token.",
			Rule:     "Burrows (2006), Chubby §2.4: the recipient of a sequencer tests whether it is still valid, and else rejects the request.",
			Workload: "lock", Nemesis: "pause:clients", Options: []string{"recipe=fenced"}, Expects: []string{"fence-regression", "lost-update-under-lock"},
		},
		{
			Name: "unlock-any", kv: kv.BugUnlockAny,
			Doc:      "A lock is released for whoever asks, holder or not.",
			Rule:     "A mutex is released by its owner only (POSIX, pthread_mutex_unlock, error checking).",
			Workload: "lock", Nemesis: "pause:clients", Options: []string{"recipe=lease"}, Expects: []string{"double-hold", "lost-update-under-lock"},
		},
		{
			Name: "ttl-resurrect", kv: kv.BugTTLRestart,
			Doc:      "A new leader forgets when keys expire: what had expired unseen is there again, for ever.",
			Rule:     "Expiry is decided by the replicated clock, which no change of leaders sets back.",
			Workload: "cache", Nemesis: "kill", Expects: []string{"expired-read", "resurrected"},
		},
		{
			Name: "lost-delete", kv: kv.BugLostDelete,
			Doc:      "A delete of a key with a TTL is acknowledged and left to the expiry.",
			Rule:     "A read after an acknowledged delete finds nothing (linearizability of the register).",
			Workload: "cache", Nemesis: "none", Expects: []string{"resurrected", "stale-read", "nonlinearizable"},
		},
	}
}

// LookupBug finds a bug by name; "" is no bug at all. It returns what to give to
// a Replica's Config.
func LookupBug(name string) (BugInfo, error) {
	if name == "" {
		return BugInfo{}, nil
	}
	for _, b := range Catalogue() {
		if b.Name == name {
			return b, nil
		}
	}
	return BugInfo{}, fmt.Errorf("raft: no bug is called %q", name)
}
