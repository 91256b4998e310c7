package chaos

import (
	"fmt"
	"strconv"

	"github.com/faultline-dev/faultline/stores/kv"
	"github.com/faultline-dev/faultline/stores/replica"
)

// judge keeps what must hold of the answers.
type judge struct {
	acked   int64 // the largest sum an addition returned
	added   int64 // additions acknowledged
	most    int64 // additions that may have happened
	read    int64 // the last sum read
	swapped int64 // the largest value a CAS reported
	swaps   map[int64]bool
	wrote   []string // keys whose write was acknowledged
}

func (j *judge) judge(q *request, r replica.Reply) string {
	got, _ := strconv.ParseInt(string(r.Result.Value), 10, 64)
	switch {
	case r.Err != "":
		if q.cmd.Op == kv.OpAdd && r.Definite {
			j.most--
		}
	case q.cmd.Op == kv.OpWrite:
		j.wrote = append(j.wrote, q.cmd.Key)
	case q.cmd.Op == kv.OpRead && q.cmd.Key != "sum":
		if r.Result.Value == nil {
			return fmt.Sprintf("the acknowledged write of %s is lost", q.cmd.Key)
		}
	case q.cmd.Key == "sum" && got > j.most:
		return fmt.Sprintf("the sum is %d after %d additions", got, j.most)
	case q.cmd.Op == kv.OpAdd:
		j.acked = max(j.acked, got)
		j.added++
	case q.cmd.Op == kv.OpRead:
		j.read = got
		if got < q.least {
			return fmt.Sprintf("read %d, though %d was acknowledged before", got, q.least)
		}
	case q.cmd.Op == kv.OpCAS:
		j.swapped = max(j.swapped, got)
		if r.Result.OK {
			if j.swaps[got] {
				return fmt.Sprintf("two CAS to %d succeeded", got)
			}
			j.swaps[got] = true
		}
	}
	return ""
}
