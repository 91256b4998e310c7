package command

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/faultline-dev/faultline/generator"
	"github.com/faultline-dev/faultline/history"
	"github.com/faultline-dev/faultline/internal/exit"
	"github.com/faultline-dev/faultline/reports"
)

// scriptFile is where a run's folder keeps the operations that were fixed for it.
const scriptFile = "script.json"

// scripted is an operation that a worker is to perform at a time, or as soon after
// it as the worker is free.
type scripted struct {
	Worker int           `json:"worker"`
	At     time.Duration `json:"at_ns"`
	F      string        `json:"f"`
	Key    string        `json:"key"`
	Value  any           `json:"value"`
}

// script are operations in the order of their times. As a generator it deals them
// out to their workers.
type script struct {
	ops  []scripted
	next []int // by worker: where to look for its next one
}

// Next implements generator.Generator.
func (s script) Next(c generator.Context) (generator.Step, generator.Generator) {
	next := slices.Clone(s.next)
	for len(next) <= c.Worker {
		next = append(next, 0)
	}
	for i := next[c.Worker]; i < len(s.ops); i++ {
		if op := s.ops[i]; op.Worker == c.Worker {
			next[c.Worker] = i + 1
			return generator.Step{Kind: generator.Do, Op: history.Op{F: op.F, Key: op.Key, Value: op.Value}, At: op.At}, script{s.ops, next}
		}
	}
	next[c.Worker] = len(s.ops)
	return generator.Step{Kind: generator.Done}, script{s.ops, next}
}

// Update implements generator.Generator.
func (s script) Update(generator.Context, history.Op) generator.Generator { return s }

// scriptOf are the operations that a history's clients performed, by workers.
func scriptOf(f *reports.Folder, concurrency int) ([]scripted, error) {
	file, err := os.Open(f.HistoryPath())
	if err != nil {
		return nil, err
	}
	defer file.Close()
	var ops []scripted
	for op, err := range history.Events(file, f.HistoryPath()) {
		if history.IsEnd(err) {
			break
		}
		if err != nil {
			return nil, err
		}
		if op.Type == history.Invoke && op.Process >= 0 {
			ops = append(ops, scripted{int(op.Process) % concurrency, op.Time, op.F, op.Key, op.Value})
		}
	}
	return ops, nil
}

// readScript reads a folder's fixed operations; nil for none.
func readScript(f *reports.Folder) ([]scripted, error) {
	b, err := os.ReadFile(filepath.Join(f.Path, scriptFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var ops []scripted
	if err == nil {
		err = json.Unmarshal(b, &ops)
	}
	if err != nil {
		return nil, exit.Usagef("%s: %w", filepath.Join(f.Path, scriptFile), err)
	}
	for i := range ops {
		ops[i].Value = whole(ops[i].Value)
	}
	return ops, nil
}

// whole turns JSON's numbers into what a history holds: int64 where they are whole.
func whole(v any) any {
	switch v := v.(type) {
	case float64:
		if n := int64(v); float64(n) == v {
			return n
		}
	case []any:
		for i := range v {
			v[i] = whole(v[i])
		}
	case map[string]any:
		for k := range v {
			v[k] = whole(v[k])
		}
	}
	return v
}

func writeScript(f *reports.Folder, ops []scripted) error {
	b, err := json.MarshalIndent(ops, "", "  ")
	if err == nil {
		err = os.WriteFile(filepath.Join(f.Path, scriptFile), append(b, '\n'), 0o644) //nolint:gosec // for everyone to read
	}
	if err != nil {
		return fmt.Errorf("%s: %w", scriptFile, err)
	}
	return nil
}
