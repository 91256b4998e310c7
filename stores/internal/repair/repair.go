// Package repair is how a node of a bundled store gets back what its disk lost
// after it had confirmed it.
//
// Such a node has forgotten promises and values that others may have counted. It
// must take part in nothing that could contradict them, so it asks all other nodes,
// twice:
//
//  1. for the highest number (term, ballot) that each has used or seen. The floor is
//     above all of them, and so above everything that the node can have promised.
//  2. to promise the floor, durably, and to say then what they hold.
//
// An other node that has promised the floor takes no part below it any more, and
// every majority that the node belonged to has a member that is whole and has
// answered, as long as fewer than a majority were damaged. So what a majority
// accepted below the floor is among the answers, and nothing below it can be
// accepted later. With the floor as its own promise and with what the others hold,
// the node is as good as one that never lost anything (compare Lamport 2001, phase
// 1; Liskov and Cowling 2012, §4.3).
//
// The nodes that are damaged themselves say only that. If so many are that no
// majority is whole, the node waits: it would have to guess.
package repair

// Slack is how far the floor is above the highest number heard: more than another
// damaged node can have gone on unheard, a new number taking it at least a wait for
// answers.
const Slack = 1 << 14

// Asking is a node's way through both questions. Its zero value is of no use.
type Asking struct {
	// Nonce tells this incarnation's questions from earlier ones'.
	Nonce uint64
	// Floor is what the others are to promise; 0 during the first question.
	Floor uint64

	others  int
	highest uint64
	whole   map[string]bool // who answered the present question: false is damaged
}

// New begins with the first question, to that many others; highest is what the node
// itself knows of.
func New(nonce, highest uint64, others int) *Asking {
	return &Asking{Nonce: nonce, highest: highest, others: others, whole: map[string]bool{}}
}

// Damaged notes that another node cannot answer, being damaged itself.
func (a *Asking) Damaged(from string) {
	if !a.whole[from] {
		a.whole[from] = false
	}
}

// Number notes the highest number that another has used or seen.
func (a *Asking) Number(from string, n uint64) {
	a.highest = max(a.highest, n)
	a.whole[from] = true
}

// Next begins the second question, when all have answered the first; it tells
// whether it did.
func (a *Asking) Next() bool {
	if a.Floor != 0 || !a.Complete() {
		return false
	}
	a.Floor, a.whole = a.highest+Slack, map[string]bool{}
	return true
}

// Complete tells whether all others have answered the present question, and enough
// of them whole that every majority has one of those.
func (a *Asking) Complete() bool {
	whole := 0
	for _, ok := range a.whole { // only counted: the order doesn't matter
		if ok {
			whole++
		}
	}
	nodes := a.others + 1
	return len(a.whole) == a.others && nodes-whole < nodes/2+1
}
