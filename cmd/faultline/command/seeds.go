package command

import (
	"context"

	"github.com/faultline-dev/faultline/internal/exit"
)

func runSeeds(context.Context, *Env, asked, *planned) error {
	return exit.Usagef("--seeds needs --on sim")
}
