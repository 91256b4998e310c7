package history

import (
	"bytes"
	"fmt"
	"reflect"
	"strings"
	"testing"
)

func ops(h *History) []Op {
	var out []Op
	for op := range h.Ops() {
		out = append(out, op)
	}
	return out
}

func TestFormats(t *testing.T) {
	for _, c := range []struct{ name, format, text, want string }{
		{"edn lines", "edn", "{:process 0, :type :invoke, :f :write, :value 3}\n{:process 0 :type :ok :f :write :value 3 :time 17}", "0 invoke write \"\" 3; 0 ok write \"\" 3"},
		{"edn vector", "edn", "; jepsen\n[{:process 0 :type :invoke :f :cas :value [1 2]}\n {:process 0, :type :fail, :f :cas, :value [1 2], :error :no}]", "0 invoke cas \"\" [1 2]; 0 fail cas \"\" [1 2]"},
		{
			"edn tuples", "edn", "{:process 0 :type :invoke :f :cas :value #jepsen.independent/tuple [7 [1 2]]}\n{:process 0 :type :info :f :cas :value [7 [1 2]]}\n{:process :nemesis :type :info :f :start :value nil}",
			"0 invoke cas \"7\" [1 2]; 0 info cas \"7\" [1 2]; -1 info start \"\" <nil>",
		},
		{"log", "jepsen-log", "INFO  jepsen.util - 0\t:invoke\t:read\tnil\nINFO  jepsen.core - hello\nINFO  jepsen.util - 0\t:fail\t:read\t:timed-out\n", "0 invoke read \"\" <nil>; 0 fail read \"\" <nil>"},
		{"kv", "porcupine-kv", `{:process 1, :type :invoke, :f :append, :key "0", :value "x"}` + "\n" + `{:process 1, :type :ok, :f :append, :key "0", :value "x"}`, "1 invoke append \"0\" x; 1 ok append \"0\" x"},
		{"json", "elle-json", `[{"process":0,"type":"invoke","f":"txn","value":[["r",1,null]]},
 {"process":0,"type":"ok","f":"txn","value":[["r",1,[2]]]}]`, "0 invoke txn \"\" [[r 1 <nil>]]; 0 ok txn \"\" [[r 1 [2]]]"},
	} {
		h, format, err := Decode(strings.NewReader(c.text), "x", "auto")
		if err != nil || format != c.format {
			t.Errorf("%s: %v, %v", c.name, format, err)
			continue
		}
		var got []string
		for _, op := range ops(h) {
			got = append(got, strings.TrimSpace(strings.Join([]string{text(op.Process), op.Type.String(), op.F, quote(op.Key), text(op.Value)}, " ")))
		}
		if s := strings.Join(got, "; "); s != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.name, s, c.want)
		}
	}
}

func TestFormatErrors(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"{:process 0 :type :invoke :f :read}\n{:process 0 :type :huh :f :read}", "x:2: column 1: type \"huh\""},
		{"{:process 0 :type :invoke :f :read\n", "ends in the middle"},
		{"{:process 0 :type :ok :f :read}", "x:1: column 1: ok of read by process 0, which has no operation open"},
		{"[{\"process\":0,\"type\":\"invoke\",\"f\":\"r\"},\n{\"process\":true}]", "x:2: column"},
		{"[{\"process\":0,]", "x:1: column"},
		{"{:process 0 :type :invoke :f :read :value \"\\q\"}", "unknown escape"},
	} {
		_, _, err := Decode(strings.NewReader(c.text), "x", "auto")
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: %v, want %q", c.text, err, c.want)
		}
	}
}

// FuzzDecode: no input panics, and what was accepted is the same after a round
// trip through EDN.
func FuzzDecode(f *testing.F) {
	for _, s := range []string{
		"{:process 0, :type :invoke, :f :write, :value 3}\n{:process 0 :type :ok :f :write :value 3 :time 17}",
		"[{:process 0 :type :invoke :f :cas :value [1 2]} {:process :nemesis :type :info :f :x}]",
		"INFO  jepsen.util - 0\t:invoke\t:read\tnil\n", `[{"process":0,"type":"invoke","f":"txn","value":[["r",1,null]]}]`,
		`{:process 1, :type :invoke, :f :append, :key "0", :value "x"}`, `{"index":0,"time":0,"process":0,"type":"invoke","f":"read","value":null}` + "\n",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		h, _, err := Decode(strings.NewReader(s), "x", "auto")
		if err != nil {
			return
		}
		var b bytes.Buffer
		if err := WriteEDN(&b, h); err != nil {
			t.Fatal(err)
		}
		if h.Len() == 0 {
			return
		}
		g, _, err := Decode(bytes.NewReader(b.Bytes()), "x", "edn")
		if err != nil {
			t.Fatalf("%v\n%s", err, b.String())
		}
		if x, y := ops(h), ops(g); !reflect.DeepEqual(x, y) {
			t.Fatalf("%+v\n%+v\n%s", x, y, b.String())
		}
	})
}

func text(v any) string     { return fmt.Sprint(v) }
func quote(s string) string { return "\"" + s + "\"" }
