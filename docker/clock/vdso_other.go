//go:build !(linux && amd64)

package clock

import (
	"errors"
	"runtime"
)

// errUnsupported is why clocks cannot be skewed here.
var errUnsupported = errors.New("clock: the vDSO is patched on linux/amd64 only, not on " + runtime.GOOS + "/" + runtime.GOARCH + ", which has no stub yet")

func supported() error { return errUnsupported }

type process struct{ pid int }

func find(int) (*process, error)       { return nil, errUnsupported }
func (*process) still() bool           { return false }
func (*process) set(Skew) error        { return errUnsupported }
func (*process) ahead() (int64, error) { return 0, errUnsupported }
func realtime() int64                  { return 0 }
func numbers(string) ([]int, error)    { return nil, errUnsupported }
