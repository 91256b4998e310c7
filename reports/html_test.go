package reports

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestRenderStaleRead(t *testing.T) {
	t.Parallel()
	f := synthFolder(t, 1000, staleRead)
	if err := Render(f); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(f.Path, IndexFile))
	if err != nil {
		t.Fatal(err)
	}
	page := string(b)
	for _, want := range []string{"stale-read", "✗ contradiction", "write 9018", "faultline run --system raft", "&lt;b&gt;n1&lt;/b&gt;"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page does not say %q", want)
		}
	}
	if dir := os.Getenv("FAULTLINE_KEEP"); dir != "" {
		if err := os.CopyFS(filepath.Join(dir, "stale"), os.DirFS(f.Path)); err != nil {
			t.Fatal(err)
		}
	}
}
