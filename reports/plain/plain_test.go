package plain_test

import (
	"testing"

	"github.com/faultline-dev/faultline/reports/plain"
)

func TestClean(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]string{
		"wrote 17 → ok": "wrote 17 → ok", "\x1b[31mred": "�[31mred", "a\nb\tc": "a�b�c", "\u202eabc": "�abc", "\u0085": "�", "\x7f": "�",
	} {
		if got := plain.Clean(s); got != want {
			t.Errorf("%q: got %q, want %q", s, got, want)
		}
	}
}

func TestClip(t *testing.T) {
	t.Parallel()
	for n, want := range map[int]string{0: "…", 1: "…", 3: "äö…", 4: "äöüß", 9: "äöüß"} {
		if got := plain.Clip("äöüß", n); got != want {
			t.Errorf("%d: got %q, want %q", n, got, want)
		}
	}
}
