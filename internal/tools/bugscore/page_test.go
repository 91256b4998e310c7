package main

import (
	"os"
	"testing"
)

// TestPageHasTheCatalogue: the documentation has every bug, its words and its rule as
// the catalogue has them, and the simulator found all.
func TestPageHasTheCatalogue(t *testing.T) {
	const page = "../../../docs/bugs.md"
	bugs, err := catalogue()
	if err != nil {
		t.Fatal(err)
	}
	measured, err := readPage(page)
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range bugs {
		if m := measured[b.String()]; m.sim == "" || m.sim == (score{}).simCell() {
			t.Errorf("docs/bugs.md: %s: the simulator has not found it: run make bugs", b)
		}
	}
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	if string(text) != render(bugs, measured) {
		t.Error("docs/bugs.md is not what the catalogue says: run make bugs")
	}
}
