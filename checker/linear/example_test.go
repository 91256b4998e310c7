package linear_test

import (
	"context"
	"fmt"
	"time"

	"github.com/faultline-dev/faultline/checker/linear"
	"github.com/faultline-dev/faultline/checker/model"
	"github.com/faultline-dev/faultline/history"
)

// A history is made of events as clients saw them, or read from a file with
// history.Decode.
func ExampleCheck() {
	ms := func(n int) time.Duration { return time.Duration(n) * time.Millisecond }
	h, err := history.Of(
		history.Op{Time: ms(0), Process: 0, Type: history.Invoke, F: "write", Key: "x", Value: int64(1)},
		history.Op{Time: ms(2), Process: 0, Type: history.OK, F: "write", Key: "x", Value: int64(1)},
		history.Op{Time: ms(5), Process: 1, Type: history.Invoke, F: "read", Key: "x"},
		history.Op{Time: ms(6), Process: 1, Type: history.OK, F: "read", Key: "x", Value: nil},
	)
	if err != nil {
		fmt.Println(err)
		return
	}
	r := linear.Check(context.Background(), h, linear.Options{Model: model.Register()})
	fmt.Println(r.Verdict)
	fmt.Println(r.Anomalies[0].Explain)
	// Output:
	// invalid
	// process 1 read nothing, asked at 0.005 s and told at 0.006 s; but before that, at 0.002 s, process 0 had already been told that it wrote 1, and the register held nothing only at the very start.
}

// A Stream judges while a test runs.
func ExampleStream() {
	s := linear.NewStream(0)
	s.Add(history.Op{Time: 0, Process: 0, Type: history.Invoke, F: "write", Key: "x", Value: int64(1)})
	s.Add(history.Op{Time: 1, Process: 0, Type: history.OK, F: "write", Key: "x", Value: int64(1)})
	s.Add(history.Op{Time: 2, Process: 1, Type: history.Invoke, F: "read", Key: "x"})
	s.Add(history.Op{Time: 3, Process: 1, Type: history.OK, F: "read", Key: "x", Value: int64(2)})
	verdict, anomaly, _ := s.End()
	fmt.Println(verdict, anomaly.Ops)
	// Output: invalid [2]
}
