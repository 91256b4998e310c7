// Package wal is a bundled store's log on disk: records with checksums, appended
// and synced, or replaced as a whole.
//
// # Files
//
// log-N holds records: length and checksum (four bytes each, big-endian), then the
// payload. mark-N says, apart from the log, how much of it is synced: the length
// with its checksum, once per sync, the last whole one counts. N grows with every
// Rewrite; the greatest N is the log, and is complete as soon as it has its name.
//
// # What a crash leaves
//
// Bytes after the marked length may be anything, and nobody was promised them: the
// first record there that isn't whole is where the log ends, and it is cut. Bytes
// before it were promised: if one record there isn't whole, the disk has lost what
// it had confirmed. A mark is written when all of the log is synced, so of a crash
// either the log's end may be torn or the mark's: where both are damaged, the disk
// has lost something as well.
//
// # What a failing disk leaves
//
// A damaged log is never cut. It is set aside as damaged-N, and a new log begins
// with the whole records before the damage; Damage says so, at every start until
// the node has fetched from the others what it lost and a Put with repaired set is
// durable.
package wal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"

	"github.com/faultline-dev/faultline/stores/disk"
	"github.com/faultline-dev/faultline/stores/internal/bin"
)

// ErrCorrupt means that synced bytes are damaged. Going on without them would break
// promises that the node has made; only the other nodes can help.
var ErrCorrupt = errors.New("synced part of the log is damaged")

// MaxRecord bounds a record's payload, in bytes.
const MaxRecord = 1 << 30

const (
	headerSize = 8
	markSize   = 12
)

// Log is an open log. After an error, a failed sync above all, it refuses to go
// on: what is on disk isn't known any more until it is opened again. It isn't
// safe for use by several goroutines at once.
type Log struct {
	fs     disk.FS
	gen    uint64
	log    disk.File
	mark   disk.File
	size   int64 // bytes written to the log
	synced int64 // bytes known to be durable
	err    error

	damage   error    // what was lost, until it is repaired
	aside    []string // damaged logs, in order
	repaired bool     // with the next Sync
}

// Open reads the log in a folder, or starts one there, and returns its records: if
// there is Damage, some that were there before.
func Open(fsys disk.FS) (*Log, [][]byte, error) {
	l := &Log{fs: fsys}
	found, err := l.sweep()
	var records [][]byte
	if found && err == nil {
		if records, err = l.load(); errors.Is(err, ErrCorrupt) {
			found, err = false, l.setAside()
		}
	}
	if !found && err == nil {
		records, err = l.begin()
	}
	if err == nil && len(l.aside) > 0 {
		last := l.aside[len(l.aside)-1]
		l.damage = fmt.Errorf("%w: it is kept as %s", ErrCorrupt, last)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("wal: open: %w", err)
	}
	return l, records, nil
}

// Damage is nil, or wraps ErrCorrupt: synced records are missing.
func (l *Log) Damage() error { return l.damage }

func logName(gen uint64) string   { return fmt.Sprintf("log-%016d", gen) }
func markName(gen uint64) string  { return fmt.Sprintf("mark-%016d", gen) }
func asideName(gen uint64) string { return fmt.Sprintf("damaged-%016d", gen) }

// setAside copies the newest log, which is damaged; the log itself stays until a
// newer one is there.
func (l *Log) setAside() error {
	data, err := l.fs.ReadFile(logName(l.gen))
	if err != nil {
		return err
	}
	name := asideName(l.gen)
	if !slices.Contains(l.aside, name) { // a crash may have left a part of it
		l.aside = append(l.aside, name)
	}
	f, err := l.fs.Create(name)
	if err != nil {
		return err
	}
	if _, err = f.Write(data); err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close(), l.fs.SyncDir())
}

// begin starts a log: an empty one, or one with what is whole of a damaged one.
func (l *Log) begin() (records [][]byte, err error) {
	if len(l.aside) > 0 {
		data, err := l.fs.ReadFile(l.aside[len(l.aside)-1])
		if err != nil {
			return nil, err
		}
		records, _ = split(data)
	}
	return records, l.Rewrite(records)
}

// sweep finds the newest log and removes what isn't part of it.
func (l *Log) sweep() (found bool, err error) {
	names, err := l.fs.List()
	if err != nil {
		return false, err
	}
	for _, n := range names {
		kind, number, _ := strings.Cut(n, "-")
		gen, err := strconv.ParseUint(number, 10, 64)
		if err != nil || kind != "log" && kind != "damaged" {
			continue
		}
		if kind == "damaged" {
			l.aside = append(l.aside, n) // the list is sorted, and so are these
		}
		if gen >= l.gen {
			l.gen, found = gen, kind == "log"
		}
	}
	for _, n := range names {
		old := strings.HasPrefix(n, "log-") || strings.HasPrefix(n, "mark-")
		old = old || strings.HasPrefix(n, "tmp-")
		if old && n != logName(l.gen) && (n != markName(l.gen) || !found) {
			if err := l.fs.Remove(n); err != nil {
				return false, err
			}
		}
	}
	return found, nil
}

// load reads the newest log, cuts its torn tail and opens it for appending.
func (l *Log) load() ([][]byte, error) {
	data, err := l.fs.ReadFile(logName(l.gen))
	if err != nil {
		return nil, err
	}
	marked, markBytes, torn, err := l.readMark()
	if err != nil {
		return nil, err
	}
	records, good := split(data)
	if good < marked || torn && good < int64(len(data)) {
		return nil, ErrCorrupt
	}
	if good < int64(len(data)) {
		if err = l.fs.Truncate(logName(l.gen), good); err != nil {
			return nil, err
		}
	}
	if err = l.fs.Truncate(markName(l.gen), markBytes); err != nil {
		return nil, err
	}
	if l.log, err = l.fs.Append(logName(l.gen)); err != nil {
		return nil, err
	}
	if l.mark, err = l.fs.Append(markName(l.gen)); err != nil {
		return nil, err
	}
	// What is there may have been written and not synced; from here on it counts.
	l.size, l.synced = good, marked
	return records, l.Sync()
}

// readMark returns the synced length, the bytes of the mark's file up to the last
// whole one, and whether anything follows it.
func (l *Log) readMark() (marked, size int64, torn bool, err error) {
	data, err := l.fs.ReadFile(markName(l.gen))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, 0, false, ErrCorrupt
	}
	if err != nil {
		return 0, 0, false, err
	}
	for i := 0; i+markSize <= len(data); i += markSize {
		if body, ok := bin.Open(data[i : i+markSize]); ok {
			marked, size = max(marked, int64(binary.BigEndian.Uint64(body))), int64(i+markSize)
		}
	}
	return marked, size, size < int64(len(data)), nil
}

// split returns the whole records at the beginning of data, and their bytes.
func split(data []byte) (records [][]byte, good int64) {
	rest := data
	for len(rest) >= headerSize {
		n := binary.BigEndian.Uint32(rest)
		if n > MaxRecord || uint64(len(rest)) < headerSize+uint64(n) {
			break
		}
		body := rest[headerSize : headerSize+n : headerSize+n]
		if binary.BigEndian.Uint32(rest[4:]) != checksum(n, body) {
			break
		}
		records = append(records, body)
		rest = rest[headerSize+n:]
	}
	return records, int64(len(data) - len(rest))
}

// checksum covers the length too, and isn't 0 for an empty record: a run of zero
// bytes is no log.
func checksum(n uint32, body []byte) uint32 { return bin.Sum(body) ^ (n + 0x5ca1ab1e) }

func appendRecord(b, body []byte) []byte {
	n := uint32(len(body))
	b = binary.BigEndian.AppendUint32(b, n)
	b = binary.BigEndian.AppendUint32(b, checksum(n, body))
	return append(b, body...)
}

// Put writes records at the end, or in the place of all before with rewrite. They
// are durable after the next Sync; with repaired the damage is then forgotten.
func (l *Log) Put(records [][]byte, rewrite, repaired bool) error {
	l.repaired = l.repaired || repaired
	if rewrite {
		return l.Rewrite(records)
	}
	return l.Append(records)
}

// Append writes records at the end; they are durable after the next Sync.
func (l *Log) Append(records [][]byte) error {
	if l.err != nil {
		return l.err
	}
	var b []byte
	for _, r := range records {
		if len(r) > MaxRecord {
			return l.broken("append", fmt.Errorf("a record of %d bytes is too long", len(r)))
		}
		b = appendRecord(b, r)
	}
	n, err := l.log.Write(b)
	l.size += int64(n)
	return l.broken("append", err)
}

// Sync makes everything appended durable, and then notes so in the mark.
func (l *Log) Sync() error {
	if l.err == nil && l.synced != l.size {
		if err := l.log.Sync(); err != nil {
			return l.broken("sync", err)
		}
		if err := writeMark(l.mark, l.size); err != nil {
			return l.broken("sync", err)
		}
		l.synced = l.size
	}
	for l.err == nil && l.repaired && len(l.aside) > 0 {
		if err := l.fs.Remove(l.aside[0]); err != nil {
			return l.broken("sync", err)
		}
		l.aside = l.aside[1:]
	}
	if l.repaired {
		l.damage, l.repaired = nil, false
	}
	return l.err
}

func writeMark(f disk.File, size int64) error {
	b := bin.Seal(binary.BigEndian.AppendUint64(nil, uint64(size)))
	if _, err := f.Write(b); err != nil {
		return err
	}
	return f.Sync()
}

// Rewrite replaces all records, durably and at once: after a crash the log is the
// old one or the new one.
func (l *Log) Rewrite(records [][]byte) error {
	if l.err != nil {
		return l.err
	}
	old, oldLog, oldMark := l.gen, l.log, l.mark
	if err := l.writeNew(old+1, records); err != nil {
		return l.broken("rewrite", err)
	}
	if oldLog == nil {
		return nil
	}
	// The old files don't count any more; a crash may leave them for sweep.
	err := errors.Join(oldLog.Close(), oldMark.Close(), l.fs.Remove(logName(old)), l.fs.Remove(markName(old)))
	return l.broken("rewrite", err)
}

func (l *Log) writeNew(gen uint64, records [][]byte) error {
	tmp := "tmp-" + logName(gen)
	f, err := l.fs.Create(tmp)
	if err != nil {
		return err
	}
	var b []byte
	for _, r := range records {
		b = appendRecord(b, r)
	}
	if _, err = f.Write(b); err != nil {
		return err
	}
	if err = f.Sync(); err != nil {
		return err
	}
	mark, err := l.fs.Create(markName(gen))
	if err != nil {
		return err
	}
	if err = writeMark(mark, int64(len(b))); err != nil {
		return err
	}
	// The mark must be there before the log has its name.
	if err = l.fs.SyncDir(); err != nil {
		return err
	}
	if err = l.fs.Rename(tmp, logName(gen)); err != nil {
		return err
	}
	if err = l.fs.SyncDir(); err != nil {
		return err
	}
	l.gen, l.log, l.mark = gen, f, mark
	l.size, l.synced = int64(len(b)), int64(len(b))
	return nil
}

// broken keeps the first error.
func (l *Log) broken(what string, err error) error {
	if err != nil && l.err == nil {
		l.err = fmt.Errorf("wal: %s: %w", what, err)
	}
	return l.err
}

// Close closes the files. It syncs nothing.
func (l *Log) Close() error {
	if l.log == nil {
		return nil
	}
	return errors.Join(l.log.Close(), l.mark.Close())
}
