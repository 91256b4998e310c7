package kv

// Bug is a broken line of the state machine, for the harness to find. The zero
// value is none.
type Bug uint8

// The state machine's bugs; what each breaks is told in the stores' catalogues.
const (
	BugNone           Bug = iota
	BugCASBlind           // a CAS that doesn't compare when it is applied
	BugLockEarly          // a lease ends for others before it ends for its holder
	BugFenceStuck         // a new holder gets the old token
	BugFenceUnchecked     // a fenced write isn't checked
	BugUnlockAny          // anybody may release
	BugLostDelete         // a delete of a key with a TTL is acknowledged only
	BugTTLRestart         // a new leader forgets the expiry times
	BugSessionsLost       // a snapshot keeps no sessions
	BugDuplicate          // a session's retry is applied again
)
