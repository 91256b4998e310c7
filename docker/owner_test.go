package docker

import (
	"runtime"
	"testing"
)

func TestFate(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("owners are certain on Linux only")
	}
	me := Self()
	other, reused, elsewhere := me, me, me
	other.PID = 1 << 30 // there is no such process
	reused.Start = "1"
	elsewhere.Boot = "another machine"
	for name, c := range map[string]struct {
		o    Owner
		want Fate
	}{
		"this process": {me, Alive}, "no process": {other, Gone}, "another process of that number": {reused, Gone},
		"another machine": {elsewhere, Unknown}, "no labels": {ownerOf(nil), Unknown},
		"labels and back": {ownerOf(me.labels("run", "node", "n1")), Alive},
	} {
		if got := c.o.Fate(); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}
