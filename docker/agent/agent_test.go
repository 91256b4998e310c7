package agent

import (
	"slices"
	"testing"
	"time"
)

func TestFilterIsTheUnionOfWhatIsHeld(t *testing.T) {
	a := &Agent{holds: map[string]hold{}, peers: []string{"p"}}
	a.put("a", hold{in: []string{"1", "2"}})
	a.put("b", hold{in: []string{"2", "3"}, out: []string{Clients}})
	a.put("c", hold{in: []string{"1"}, shape: &Shape{Loss: 0.5}})
	if f := a.filter(); !slices.Equal(f.in, []string{"1", "2", "3"}) || !slices.Equal(f.out, []string{Clients}) || len(f.shapeIn) != 1 {
		t.Errorf("%+v", f)
	}
	a.drop("b")
	if f := a.filter(); !slices.Equal(f.in, []string{"1", "2"}) || len(f.out) != 0 {
		t.Errorf("without b: %+v", f)
	}
	a.put("a", hold{in: []string{"3"}})
	if f := a.filter(); !slices.Equal(f.in, []string{"3"}) {
		t.Errorf("with another a: %+v", f)
	}
	if a.drop("b") {
		t.Error("b was dropped twice")
	}
}

func TestTally(t *testing.T) {
	start := time.Unix(100, 0)
	var y Tally
	for i, seq := range []int{0, 1, 3, 2, 2, 5} {
		d, ok := DecodeDatagram(Datagram{Token: "t", Seq: seq, Sent: start.UnixNano()}.Encode(100))
		if !ok || d.Seq != seq {
			t.Fatalf("%d came back as %+v, %v", seq, d, ok)
		}
		y.Add(d, 125, start.Add(time.Duration(i+1)*time.Millisecond))
	}
	q := y.Quality()
	if q.Received != 5 || q.Duplicated != 1 || q.Reordered != 1 || q.Delay != 3*time.Millisecond || q.Rate != 800_000 {
		t.Errorf("%+v", q)
	}
	if n := len(Datagram{}.Encode(1000)); n != 1000 {
		t.Errorf("a datagram of 1000 bytes has %d", n)
	}
}
