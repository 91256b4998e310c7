//go:build !linux

package disk

import (
	"context"
	"errors"
)

// Config says what to supervise.
type Config struct {
	Folder, Mount, Address string
	Command                []string
}

// Run is possible on Linux only.
func Run(context.Context, Config) (int, error) {
	return 0, errors.New("disk: file systems are mounted on Linux only")
}
