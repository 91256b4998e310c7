package reports

import _ "embed" // the schema

//go:embed schema/results.schema.json
var resultsSchema string

// Schema is the JSON Schema of results.json.
func Schema() string { return resultsSchema }

// Style is the style sheet of the pages, for those that stand beside them.
func Style() string { return indexStyle }
