// Package protocol is the JSON that clients of the bundled stores speak: a request
// is a path and a body, an answer a status and a body. The real servers carry it
// over HTTP; a simulator may carry it as it likes.
package protocol

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/faultline-dev/faultline/stores/kv"
	"github.com/faultline-dev/faultline/stores/replica"
)

// Prefix begins the path of every request.
const Prefix = "/v1/"

// Status is the one request without a body: how the node stands.
const Status = Prefix + "status"

// MaxBody bounds a request's body, in bytes.
const MaxBody = 1 << 20

// How long a node works on a request that does not say, and at most.
const (
	timeoutDefault = time.Second
	timeoutMost    = 30 * time.Second
)

// request is the JSON body of every POST; each operation reads its own fields.
type request struct {
	Key     string          `json:"key"`
	Value   json.RawMessage `json:"value"`      // write, update
	Old     json.RawMessage `json:"old"`        // cas
	New     json.RawMessage `json:"new"`        // cas
	Delta   int64           `json:"delta"`      // add
	TTL     int64           `json:"ttl_ns"`     // write; 0 is for ever
	Lease   int64           `json:"lease_ns"`   // acquire
	Owner   string          `json:"owner"`      // acquire, release
	Token   int64           `json:"token"`      // update; 0 asks for no check
	Session uint64          `json:"session"`    // exactly-once, with seq
	Seq     uint64          `json:"seq"`        // grows with each command
	Reads   string          `json:"reads"`      // linearizable, lease, local
	Timeout int64           `json:"timeout_ns"` // default 1 s, at most 30 s

	To     string   `json:"to"`     // transfer
	Remove []string `json:"remove"` // members
	Add    []string `json:"add"`    // members
}

// response is the JSON body of a success.
type response struct {
	OK      bool            `json:"ok"`                 // cas: swapped; acquire: granted; update: not fenced off
	Value   json.RawMessage `json:"value"`              // what was read or observed; null is absent
	Version int64           `json:"version,omitempty"`  // of the value
	Owner   string          `json:"owner,omitempty"`    // of the lock
	Token   int64           `json:"token,omitempty"`    // fencing token
	Lease   int64           `json:"lease_ns,omitempty"` // what is left of the lease
	Session uint64          `json:"session,omitempty"`
}

// failure is the JSON body of anything else. Definite says that the command had no
// effect and never will.
type failure struct {
	Error    string `json:"error"`
	Definite bool   `json:"definite"`
}

// names are the operations' paths, by their numbers.
var names = [...]string{ //nolint:gochecknoglobals // a constant that Go has no words for
	kv.OpRead: "read", kv.OpWrite: "write", kv.OpCAS: "cas", kv.OpDelete: "delete",
	kv.OpAdd: "add", kv.OpAcquire: "acquire", kv.OpRelease: "release",
	kv.OpUpdate: "update", kv.OpOpenSession: "session",
}

// Paths are the paths of all requests with a body.
func Paths() []string {
	paths := []string{Prefix + "transfer", Prefix + "members"}
	for _, name := range names {
		if name != "" {
			paths = append(paths, Prefix+name)
		}
	}
	return paths
}

// Decode reads a request. Reads is for requests that do not say; the timeout is
// how long the node may work on it. An error is the client's fault: nothing
// happened.
func Decode(path string, body []byte, reads replica.Reads) (q replica.Request, timeout time.Duration, err error) {
	var b request
	if err = json.Unmarshal(body, &b); err != nil {
		return q, 0, fmt.Errorf("body: %w", err)
	}
	timeout = time.Duration(b.Timeout)
	if timeout <= 0 {
		timeout = timeoutDefault
	}
	timeout = min(timeout, timeoutMost)
	name := path[min(len(path), len(Prefix)):]
	if name == "transfer" || name == "members" {
		q.Admin = &replica.Admin{Transfer: b.To, Remove: b.Remove, Add: b.Add}
		return q, timeout, nil
	}
	op := kv.Op(max(0, slices.Index(names[:], name))) //nolint:gosec // few
	if op == kv.OpNone {
		return q, 0, fmt.Errorf("there is no %s", path)
	}
	q.Command = kv.Command{
		Op: op, Key: b.Key, Value: canonical(b.Value), Delta: b.Delta, TTL: b.TTL,
		Owner: b.Owner, Token: b.Token, Session: b.Session, Seq: b.Seq,
	}
	switch op {
	case kv.OpCAS:
		q.Command.Expect, q.Command.Value = canonical(b.Old), canonical(b.New)
	case kv.OpAcquire:
		q.Command.TTL = b.Lease
	default: // what the body says already
	}
	q.Reads, err = ParseReads(b.Reads, reads)
	return q, timeout, err
}

// ParseReads reads the name of a way to read; "" is what otherwise says.
func ParseReads(s string, otherwise replica.Reads) (replica.Reads, error) {
	switch s {
	case "":
		return otherwise, nil
	case "linearizable":
		return replica.Linearizable, nil
	case "lease":
		return replica.Lease, nil
	case "local":
		return replica.Local, nil
	}
	return 0, errors.New("reads is one of linearizable, lease, local")
}

// canonical is a JSON value without spaces, so that equal values are equal bytes;
// null and nothing are absent.
func canonical(v json.RawMessage) []byte {
	if len(v) == 0 || string(v) == "null" {
		return nil
	}
	var b bytes.Buffer
	if json.Compact(&b, v) != nil || b.Len() == 0 || b.String() == "null" {
		return nil
	}
	return b.Bytes()
}

// Encode is a reply as status and body.
func Encode(q *replica.Request, x *replica.Reply) (status int, body []byte) {
	if x.Err != "" {
		return Refuse(http.StatusServiceUnavailable, x.Err, x.Definite)
	}
	r := &x.Result
	b := response{OK: r.OK, Value: json.RawMessage("null"), Version: r.Version, Owner: r.Owner, Token: r.Token, Lease: r.Left}
	if r.Value != nil {
		b.Value = r.Value
	}
	if q.Command.Op == kv.OpOpenSession {
		b.Session, b.Token = uint64(r.Token), 0
	}
	return http.StatusOK, encode(b)
}

// Refuse is a failure as status and body.
func Refuse(status int, msg string, definite bool) (int, []byte) {
	return status, encode(failure{msg, definite})
}

// EncodeStatus is how a node stands, as status and body.
func EncodeStatus(s replica.Status) (status int, body []byte) { return http.StatusOK, encode(s) }

func encode(body any) []byte {
	b, err := json.Marshal(body)
	if err != nil { // a value that is no JSON: it came from elsewhere than Decode
		b, _ = json.Marshal(failure{err.Error(), false})
	}
	return append(b, '\n')
}
