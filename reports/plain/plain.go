// Package plain makes text of a foreign system safe and short enough for a
// terminal.
package plain

import (
	"strings"
	"unicode/utf8"
)

// Clean takes control characters and those that turn the direction of writing out
// of s, so that it cannot steer the terminal.
func Clean(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069 {
			return '�'
		}
		return r
	}, s)
}

// Clip is s, or so much of it that it has n runes with the mark of what is left out.
func Clip(s string, n int) string {
	if utf8.RuneCountInString(s) <= n {
		return s
	}
	return string([]rune(s)[:max(0, n-1)]) + "…"
}
