//go:build !linux

package agent

import "errors"

func newRules() (rules, error) {
	return nil, errors.New("the network agent runs on Linux only")
}
