// Package disk is the small file system that a bundled store's log is written
// through, so that a simulated one can take the place of the real one.
package disk

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// FS is one flat folder. Nothing in it survives a crash for sure until it is
// synced: a file's bytes by its Sync, the existence and name of a file by SyncDir.
type FS interface {
	// Create makes an empty file, or empties the one there is.
	Create(name string) (File, error)
	// Append opens an existing file to write at its end.
	Append(name string) (File, error)
	// ReadFile returns a file's bytes, or an error that is fs.ErrNotExist.
	ReadFile(name string) ([]byte, error)
	// Truncate cuts a file to size bytes, durably.
	Truncate(name string, size int64) error
	Rename(from, to string) error
	Remove(name string) error
	// List returns the files' names, sorted.
	List() ([]string, error)
	SyncDir() error
}

// File is an open file that only grows.
type File interface {
	io.Writer
	Sync() error
	Close() error
}

// dir is a folder of the operating system's.
type dir string

// Dir opens a folder of the operating system's, making it if need be.
func Dir(path string) (FS, error) {
	if err := os.MkdirAll(path, 0o755); err != nil {
		return nil, fmt.Errorf("disk: %w", err)
	}
	return dir(path), nil
}

func (d dir) path(name string) string { return filepath.Join(string(d), name) }

func (d dir) Create(name string) (File, error) {
	return os.OpenFile(d.path(name), os.O_CREATE|os.O_TRUNC|os.O_WRONLY|os.O_APPEND, 0o644)
}

func (d dir) Append(name string) (File, error) {
	return os.OpenFile(d.path(name), os.O_WRONLY|os.O_APPEND, 0o644)
}

func (d dir) ReadFile(name string) ([]byte, error) { return os.ReadFile(d.path(name)) }

func (d dir) Truncate(name string, size int64) error {
	f, err := os.OpenFile(d.path(name), os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	return errors.Join(f.Truncate(size), f.Sync(), f.Close())
}

func (d dir) Rename(from, to string) error { return os.Rename(d.path(from), d.path(to)) }

func (d dir) Remove(name string) error { return os.Remove(d.path(name)) }

func (d dir) List() ([]string, error) {
	entries, err := os.ReadDir(string(d))
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if e.Type().IsRegular() {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

func (d dir) SyncDir() error {
	f, err := os.Open(string(d))
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
