package clients

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/faultline-dev/faultline/history"
)

// Encode is a value as systems of text keep it: decimal digits. That it is no whole
// number is a definite error.
func Encode(v any) (string, error) {
	switch n := v.(type) {
	case int64:
		return strconv.FormatInt(n, 10), nil
	case int:
		return strconv.Itoa(n), nil
	}
	return "", history.Definite(fmt.Errorf("a register holds whole numbers, not %T", v))
}

// Decode is the value that a text stands for. What nobody can have written comes back
// as the text that it is: it is for the checkers to say what that means.
func Decode(text string) any {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return text
	}
	return n
}

// Limited is ctx with a deadline, its own or one after limit. A limit of 0 is none.
func Limited(ctx context.Context, limit time.Duration) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok || limit <= 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, limit)
}
