package paxos

import (
	"fmt"

	"github.com/faultline-dev/faultline/stores/kv"
)

// Bug is one broken line of the protocol, for the harness to find. The zero value
// is none.
type Bug uint8

// The protocol's bugs. Catalogue says what each breaks.
const (
	BugNone Bug = iota
	BugForgetPromise
	BugForgetAccepted
	BugReuseBallot
	BugIgnoreAccepted
	BugAcceptLower
	BugPrepareMinority
	BugLearnMinority
	BugReadOne
	BugUnpromisedNext
	BugBlindRetry
	BugAckBeforeSync
	BugFalseDefinite
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

// Catalogue lists every bug of the Paxos store, in the order of the docs.
func Catalogue() []BugInfo {
	any3 := []string{"stale-read", "lost-write", "nonlinearizable", "aborted-read", "diverged"}
	reg := func(name string, bug Bug, nemesis, doc, rule string) BugInfo {
		return BugInfo{Name: name, bug: bug, Nemesis: nemesis, Doc: doc, Rule: rule, Workload: "register", Expects: any3}
	}
	list := []BugInfo{
		reg("forget-promise", BugForgetPromise, "partition,kill",
			"An acceptor doesn't keep its promises: it goes on accepting lower ballots.",
			"Lamport 2001, P1a: an acceptor accepts a proposal n only if it has not responded to a prepare request with a greater number."),
		reg("forget-accepted", BugForgetAccepted, "restart:all",
			"An acceptor saves its promises and not what it accepted: after a restart the value is gone.",
			"Lamport 2001, §2.5: an acceptor must remember the highest-numbered proposal that it has ever accepted, even if it fails and is restarted."),
		reg("reuse-ballot", BugReuseBallot, "partition,kill",
			"Ballots don't name their proposer: two proposers use the same one for different values.",
			"Lamport 2001, §2.2: different proposals have different numbers."),
		reg("ignore-accepted", BugIgnoreAccepted, "partition,kill",
			"A proposer goes on from the state in the first promise that comes, not from the one accepted under the greatest ballot.",
			"Lamport 2001, P2c: the value is that of the highest-numbered proposal among those accepted by the majority that promised."),
		reg("accept-lower", BugAcceptLower, "partition,kill",
			"An acceptor accepts any ballot, whatever it has promised.",
			"Lamport 2001, phase 2b: an acceptor accepts unless it has already responded to a prepare request with a greater number."),
		reg("prepare-minority", BugPrepareMinority, "partition,kill",
			"A proposer goes on with one promise less than a majority.",
			"Lamport 2001, phase 2a: the proposer needs responses to its prepare request from a majority of acceptors."),
		reg("learn-minority", BugLearnMinority, "partition,kill",
			"A change counts as chosen when one acceptor less than a majority has accepted it.",
			"Lamport 2001, §2.1: a value is chosen when a large enough set, any majority, has accepted it."),
		reg("read-one-acceptor", BugReadOne, "partition,kill",
			"A read returns what the node's own acceptor holds.",
			"Rystsov §2.2: a read is a change like others, the identity; it needs a majority."),
		reg("unpromised-next", BugUnpromisedNext, "partition,kill",
			"Acceptors don't promise the next ballot along with an accepted change, and the proposer skips its first round as if they had.",
			"Rystsov §2.2.1: the prepare phase is skipped only if the next ballot's promise came with the previous accept."),
		reg("blind-retry", BugBlindRetry, "partition,kill",
			"A proposer that lost sight of a change tries it again without looking whether it was chosen.",
			"Rystsov §2.2: after a conflict the outcome is unknown; a retry must first learn the accepted state."),
		reg("ack-before-fsync", BugAckBeforeSync, "kill,disk:lose-unsynced",
			"An acceptor answers before its promise or the accepted value is on disk.",
			"Lamport 2001, §2.5: an acceptor records its intended response in stable storage before actually sending it."),
		reg("false-definite", BugFalseDefinite, "partition,kill",
			"A request that gets no answer in time is reported as certainly without effect.",
			"Only proof makes a failure definite: a change accepted by one acceptor may still be chosen by another proposer's round."),
	}
	for i := range list {
		if list[i].bug == BugAckBeforeSync {
			list[i].SimOnly = true
		}
		if list[i].bug == BugFalseDefinite {
			list[i].Expects = []string{"aborted-read", "nonlinearizable"}
		}
	}
	return append(list, machineBugs()...)
}

func machineBugs() []BugInfo {
	lock := []string{"double-hold", "lost-update-under-lock"}
	fence := []string{"fence-regression", "lost-update-under-lock"}
	return []BugInfo{
		{
			Name: "lock-early", kv: kv.BugLockEarly, Workload: "lock", Nemesis: "pause:clients", Options: []string{"recipe=lease"}, Expects: lock,
			Doc:  "A lock is granted to another when half of its holder's lease has passed.",
			Rule: "Gray and Cheriton (1989): until a lease's term ends, no conflicting one is granted.",
		},
		{
			Name: "fence-stuck", kv: kv.BugFenceStuck, Workload: "lock", Nemesis: "pause:clients", Options: []string{"recipe=fenced"}, Expects: fence,
			Doc:  "A new holder of a lock gets the fencing token of the holder before.",
			Rule: "Burrows (2006), Chubby §2.4: the generation number grows with each transition of the lock from free to held.",
		},
		{
			Name: "unlock-any", kv: kv.BugUnlockAny, Workload: "lock", Nemesis: "pause:clients", Options: []string{"recipe=lease"}, Expects: lock,
			Doc:  "A lock is released for whoever asks, holder or not.",
			Rule: "A mutex is released by its owner only (POSIX, pthread_mutex_unlock, error checking).",
		},
		{
			Name: "lost-delete", kv: kv.BugLostDelete, Workload: "cache", Nemesis: "none", Expects: []string{"resurrected", "stale-read", "nonlinearizable"},
			Doc:  "A delete of a key with a TTL is acknowledged and left to the expiry.",
			Rule: "A read after an acknowledged delete finds nothing (linearizability of the register).",
		},
	}
}

// Core is the broken line of the protocol; BugNone if it is elsewhere.
func (b BugInfo) Core() Bug { return b.bug }

// Machine is the broken line of the state machine; kv.BugNone if it is elsewhere.
func (b BugInfo) Machine() kv.Bug { return b.kv }

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
	return BugInfo{}, fmt.Errorf("paxos: no bug is called %q", name)
}
