package reports

import _ "embed" // the schema

//go:embed schema/results.schema.json
var resultsSchema string

// Schema is the JSON Schema of results.json.
func Schema() string { return resultsSchema }
