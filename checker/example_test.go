package checker_test

import (
	"context"
	"fmt"
	"strings"

	"github.com/faultline-dev/faultline/checker/ladder"
	"github.com/faultline-dev/faultline/checker/linear"
	"github.com/faultline-dev/faultline/history"
)

const jepsen = `
{:process 0, :type :invoke, :f :write, :value 1}
{:process 0, :type :ok,     :f :write, :value 1}
{:process 0, :type :invoke, :f :write, :value 2}
{:process 0, :type :ok,     :f :write, :value 2}
{:process 1, :type :invoke, :f :read,  :value nil}
{:process 1, :type :ok,     :f :read,  :value 1}
`

// Any history that history.Decode reads is judged in a few lines.
func Example() {
	h, _, err := history.Decode(strings.NewReader(jepsen), "history.edn", "auto")
	if err != nil {
		fmt.Println(err)
		return
	}
	r := linear.Check(context.Background(), h, linear.Options{})
	fmt.Println(r.Verdict, "by", r.Engine)
	for _, a := range r.Anomalies {
		fmt.Println(a.Name, a.Ops)
	}
	// Output:
	// invalid by fast
	// lost-write [0 2 4]
}

// How much weaker a system is than linearizable, the ladder says.
func Example_ladder() {
	h, _, err := history.Decode(strings.NewReader(jepsen), "history.edn", "auto")
	if err != nil {
		fmt.Println(err)
		return
	}
	l := ladder.Judge(context.Background(), h, ladder.Options{})
	fmt.Println("linearizable", l.Verdicts[ladder.Linearizable])
	fmt.Println("sequential", l.Verdicts[ladder.Sequential])
	fmt.Println("versions behind, at most", l.Staleness.All.Versions.Max)
	// Output:
	// linearizable invalid
	// sequential valid
	// versions behind, at most 1
}
