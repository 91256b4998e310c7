package clients_test

import (
	"testing"

	"github.com/faultline-dev/faultline/clients"
	"github.com/faultline-dev/faultline/history"
)

func TestEncode(t *testing.T) {
	for _, c := range []struct {
		in   any
		text string
		want history.Type
	}{
		{int64(-7), "-7", history.OK},
		{7, "7", history.OK},
		{"7", "", history.Fail},
		{nil, "", history.Fail},
	} {
		if text, err := clients.Encode(c.in); text != c.text || history.TypeOf(err) != c.want {
			t.Errorf("%v: %q, %v", c.in, text, err)
		}
	}
}

func TestDecode(t *testing.T) {
	for text, want := range map[string]any{"-7": int64(-7), "": "", "1\x00": "1\x00", "99999999999999999999": "99999999999999999999"} {
		if got := clients.Decode(text); got != want {
			t.Errorf("%q: %v, want %v", text, got, want)
		}
	}
}
