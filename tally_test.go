package faultline

import "testing"

func TestKindsOfErrors(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"timed out":                              "timed out",
		"read n1: no leader before the deadline": "no leader before the deadline",
		"no session: redis: no session with n1 at 127.0.0.1:33376: i/o timeout": "no session: i/o timeout",
		"no session": "no session",
		"redis: read tcp 127.0.0.1:41604->127.0.0.1:33376: i/o timeout": "i/o timeout",
		"acquire n1: k2 is held by p1.2":                                "… is held by …",
		"":                                                              "",
	} {
		if got := kindOf(text); got != want {
			t.Errorf("%q is of the kind %q, want %q", text, got, want)
		}
	}
}
