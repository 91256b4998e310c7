package linear

import (
	"testing"

	"github.com/faultline-dev/faultline/checker"
	"github.com/faultline-dev/faultline/checker/checkertest"
	"github.com/faultline-dev/faultline/checker/model"
)

func TestHistories(t *testing.T) {
	checkertest.Run(t, "testdata", func(command string) checker.Checker {
		if command == "check" {
			return New(Options{Model: model.CASRegister()})
		}
		spec, err := model.Named(command)
		if err != nil {
			return nil
		}
		return New(Options{Model: spec})
	})
}
