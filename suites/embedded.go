package suites

import (
	"bytes"
	"embed"
	"fmt"
	"os"
	"strings"
)

//go:embed *.yaml
var embedded embed.FS

//go:embed schema/suite.schema.json
var suiteSchema string

// Schema is the JSON Schema of a suite's file, for editors.
func Schema() string { return suiteSchema }

// Names are the suites that come with faultline.
func Names() []string {
	entries, _ := embedded.ReadDir(".") // an embedded folder is there
	var names []string
	for _, e := range entries {
		names = append(names, strings.TrimSuffix(e.Name(), ".yaml"))
	}
	return names
}

// Open reads the suite in a file, or one that comes with faultline by its name.
func Open(path string) (Suite, error) {
	f, err := os.Open(path)
	if err != nil {
		if b, e := embedded.ReadFile(path + ".yaml"); e == nil {
			return Read(bytes.NewReader(b), path+".yaml")
		}
		return Suite{}, fmt.Errorf("%w; expected a file, or one of the suites that come along: %s", err, strings.Join(Names(), ", "))
	}
	defer f.Close()
	return Read(f, path)
}
