// Faultline tests the consistency of distributed stores.
package main

import (
	"os"

	"github.com/faultline-dev/faultline/cmd/faultline/command"
)

func main() {
	os.Exit(command.Main(os.Args[1:], command.Default())) //nolint:forbidigo // this is main
}
