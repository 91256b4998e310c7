//go:build linux

package disk

import (
	"context"
	"os"
	"path/filepath"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// node is a file or folder. What it does not do itself changes nothing that could
// be lost, and is done by the folder where the data is.
type node struct {
	fs.LoopbackNode
	j *journal
}

// handle is an open file.
type handle struct {
	j  *journal
	in *inode
	fd int // as it was opened: for reads
}

var (
	_ fs.NodeOpener         = (*node)(nil)
	_ fs.NodeCreater        = (*node)(nil)
	_ fs.NodeSetattrer      = (*node)(nil)
	_ fs.NodeFsyncer        = (*node)(nil)
	_ fs.NodeRenamer        = (*node)(nil)
	_ fs.NodeUnlinker       = (*node)(nil)
	_ fs.NodeRmdirer        = (*node)(nil)
	_ fs.NodeMkdirer        = (*node)(nil)
	_ fs.NodeMknoder        = (*node)(nil)
	_ fs.NodeLinker         = (*node)(nil)
	_ fs.NodeSymlinker      = (*node)(nil)
	_ fs.NodeTmpfiler       = (*node)(nil)
	_ fs.NodeOpendirHandler = (*node)(nil)
	_ fs.FileFsyncdirer     = (*folder)(nil)
	_ fs.FileReader         = (*handle)(nil)
	_ fs.FileWriter         = (*handle)(nil)
	_ fs.FileAllocater      = (*handle)(nil)
	_ fs.FileReleaser       = (*handle)(nil)
	_ fs.FileGetattrer      = (*handle)(nil)
	_ fs.FileFlusher        = (*handle)(nil)
	_ fs.FileLseeker        = (*handle)(nil)
)

// tree is the root of a file system whose files are in dir.
func tree(dir string, j *journal) *node {
	root := &fs.LoopbackRoot{Path: dir}
	root.NewNode = func(r *fs.LoopbackRoot, _ *fs.Inode, _ string, _ *syscall.Stat_t) fs.InodeEmbedder { //nolint:staticcheck // its successor wraps children only, not the root
		return &node{LoopbackNode: fs.LoopbackNode{RootData: r}, j: j}
	}
	n := &node{LoopbackNode: fs.LoopbackNode{RootData: root}, j: j}
	root.RootNode = n
	return n
}

func (n *node) path(name string) string {
	return filepath.Join(n.RootData.Path, n.Path(n.Root()), name)
}

// opened makes a handle of a file descriptor, which it owns.
func (n *node) opened(fd int) (*handle, syscall.Errno) {
	in, err := n.j.enter(fd)
	if err != nil {
		_ = syscall.Close(fd)
		return nil, errnoOf(err)
	}
	return &handle{j: n.j, in: in, fd: fd}, 0
}

// Open opens a file.
func (n *node) Open(ctx context.Context, flags uint32) (fs.FileHandle, uint32, syscall.Errno) {
	how := int(flags) &^ (syscall.O_APPEND | syscall.O_DIRECT | syscall.O_TRUNC | syscall.O_CREAT | syscall.O_EXCL)
	fd, err := syscall.Open(n.path(""), how|syscall.O_CLOEXEC|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return nil, 0, errnoOf(err)
	}
	h, errno := n.opened(fd)
	if errno != 0 {
		return nil, 0, errno
	}
	if flags&syscall.O_TRUNC != 0 {
		if errno := n.j.truncate(h.in, 0); errno != 0 {
			_ = h.Release(ctx)
			return nil, 0, errno
		}
	}
	return h, 0, 0
}

// Create makes a file and opens it.
func (n *node) Create(ctx context.Context, name string, flags, mode uint32, out *fuse.EntryOut) (*fs.Inode, fs.FileHandle, uint32, syscall.Errno) {
	var (
		child *fs.Inode
		plain fs.FileHandle
		path  = n.path(name)
	)
	errno := n.j.change("", true, func() (errno syscall.Errno) {
		how := flags &^ (syscall.O_APPEND | syscall.O_DIRECT | syscall.O_TRUNC)
		child, plain, _, errno = n.LoopbackNode.Create(ctx, name, how, mode, out)
		return errno
	}, func(string) { _ = os.Remove(path) })
	if errno != 0 {
		return nil, nil, 0, errno
	}
	if r, ok := plain.(fs.FileReleaser); ok {
		defer func() { _ = r.Release(ctx) }()
	}
	how := int(flags) & (syscall.O_ACCMODE | syscall.O_NOATIME)
	fd, err := syscall.Open(path, how|syscall.O_CLOEXEC, 0)
	if err != nil {
		return nil, nil, 0, errnoOf(err)
	}
	h, errno := n.opened(fd)
	if errno != 0 {
		return nil, nil, 0, errno
	}
	return child, h, 0, 0
}

// Setattr changes the size through the journal, and all else at once.
func (n *node) Setattr(ctx context.Context, f fs.FileHandle, in *fuse.SetAttrIn, out *fuse.AttrOut) syscall.Errno {
	h, open := f.(*handle)
	if size, ok := in.GetSize(); ok {
		if errno := n.resize(ctx, h, int64(size)); errno != 0 {
			return errno
		}
		in.Valid &^= fuse.FATTR_SIZE
	}
	const attributes = fuse.FATTR_MODE | fuse.FATTR_UID | fuse.FATTR_GID | fuse.FATTR_ATIME | fuse.FATTR_MTIME
	if open && in.Valid&attributes == 0 {
		return h.Getattr(ctx, out) // it may have no name any more
	}
	return n.LoopbackNode.Setattr(ctx, nil, in, out)
}

func (n *node) resize(ctx context.Context, h *handle, size int64) syscall.Errno {
	if h != nil {
		return n.j.truncate(h.in, size)
	}
	fd, err := syscall.Open(n.path(""), syscall.O_RDWR|syscall.O_CLOEXEC, 0)
	if err != nil {
		return errnoOf(err)
	}
	h, errno := n.opened(fd)
	if errno != 0 {
		return errno
	}
	defer func() { _ = h.Release(ctx) }()
	return n.j.truncate(h.in, size)
}

// Fsync syncs a file or a folder.
func (n *node) Fsync(_ context.Context, f fs.FileHandle, _ uint32) syscall.Errno {
	if h, ok := f.(*handle); ok {
		return n.j.sync(h.in)
	}
	return n.j.sync(nil)
}

// folder is an open folder, whose syncs count.
type folder struct {
	stream
	j *journal
}

// stream is what lists a folder.
type stream interface {
	fs.FileReaddirenter
	fs.FileSeekdirer
	fs.FileReleasedirer
}

// OpendirHandle opens a folder.
func (n *node) OpendirHandle(context.Context, uint32) (fs.FileHandle, uint32, syscall.Errno) {
	ds, errno := fs.NewLoopbackDirStream(n.path(""))
	if errno != 0 {
		return nil, 0, errno
	}
	s, ok := ds.(stream)
	if !ok {
		ds.Close()
		return nil, 0, syscall.EIO
	}
	return &folder{stream: s, j: n.j}, 0, 0
}

// Fsyncdir syncs a folder.
func (f *folder) Fsyncdir(context.Context, uint32) syscall.Errno { return f.j.sync(nil) }

// Unlink removes a file; it comes back if that was not durable.
func (n *node) Unlink(ctx context.Context, name string) syscall.Errno {
	path := n.path(name)
	return n.j.change(path, false, func() syscall.Errno { return n.LoopbackNode.Unlink(ctx, name) },
		func(kept string) { _ = os.Rename(kept, path) })
}

// Rename renames a file or folder, in the place of another perhaps.
func (n *node) Rename(ctx context.Context, name string, to fs.InodeEmbedder, newName string, flags uint32) syscall.Errno {
	parent, ok := to.(*node)
	if !ok {
		return syscall.EXDEV
	}
	const noReplace = 1
	if flags&^noReplace != 0 {
		return syscall.EINVAL
	}
	from, path := n.path(name), parent.path(newName)
	return n.j.change(path, false, func() syscall.Errno { return n.LoopbackNode.Rename(ctx, name, to, newName, flags) },
		func(kept string) {
			_ = os.Rename(path, from)
			if kept != "" {
				_ = os.Rename(kept, path)
			}
		})
}

// Rmdir removes a folder.
func (n *node) Rmdir(ctx context.Context, name string) syscall.Errno {
	path := n.path(name)
	info, err := os.Lstat(path)
	if err != nil {
		return fs.ToErrno(err)
	}
	return n.j.change("", false, func() syscall.Errno { return n.LoopbackNode.Rmdir(ctx, name) },
		func(string) { _ = os.Mkdir(path, info.Mode()) })
}

// made makes something in a folder that can be removed again.
func (n *node) made(name string, do func() (*fs.Inode, syscall.Errno)) (child *fs.Inode, errno syscall.Errno) {
	path := n.path(name)
	errno = n.j.change("", true, func() (errno syscall.Errno) {
		child, errno = do()
		return errno
	}, func(string) { _ = os.Remove(path) })
	return child, errno
}

// Mkdir makes a folder.
func (n *node) Mkdir(ctx context.Context, name string, mode uint32, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	return n.made(name, func() (*fs.Inode, syscall.Errno) { return n.LoopbackNode.Mkdir(ctx, name, mode, out) })
}

// Mknod makes a file, a socket or a pipe.
func (n *node) Mknod(ctx context.Context, name string, mode, dev uint32, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	return n.made(name, func() (*fs.Inode, syscall.Errno) { return n.LoopbackNode.Mknod(ctx, name, mode, dev, out) })
}

// Link gives a file another name.
func (n *node) Link(ctx context.Context, target fs.InodeEmbedder, name string, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	return n.made(name, func() (*fs.Inode, syscall.Errno) { return n.LoopbackNode.Link(ctx, target, name, out) })
}

// Symlink makes a symbolic link.
func (n *node) Symlink(ctx context.Context, target, name string, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	return n.made(name, func() (*fs.Inode, syscall.Errno) { return n.LoopbackNode.Symlink(ctx, target, name, out) })
}

// Tmpfile is left to other means: a file without a name could not be accounted for.
func (n *node) Tmpfile(context.Context, uint32, uint32, *fuse.EntryOut) (*fs.Inode, fs.FileHandle, uint32, syscall.Errno) {
	return nil, nil, 0, syscall.EOPNOTSUPP
}

// Read reads what was written, durable or not.
func (h *handle) Read(_ context.Context, dest []byte, off int64) (fuse.ReadResult, syscall.Errno) {
	return fuse.ReadResultFd(uintptr(h.fd), off, len(dest)), 0
}

// Write writes.
func (h *handle) Write(_ context.Context, data []byte, off int64) (uint32, syscall.Errno) {
	n, errno := h.j.write(h.in, data, off)
	return uint32(max(0, n)), errno
}

// Allocate reserves space.
func (h *handle) Allocate(_ context.Context, off, size uint64, mode uint32) syscall.Errno {
	return h.j.allocate(h.in, int64(off), int64(size), mode)
}

// Flush is what happens at a close, which makes nothing durable.
func (h *handle) Flush(context.Context) syscall.Errno { return 0 }

// Release ends the handle.
func (h *handle) Release(context.Context) syscall.Errno {
	h.j.leave(h.in)
	return errnoOf(syscall.Close(h.fd))
}

// Getattr describes the file, also one without a name.
func (h *handle) Getattr(_ context.Context, out *fuse.AttrOut) syscall.Errno {
	var st syscall.Stat_t
	if err := syscall.Fstat(h.fd, &st); err != nil {
		return errnoOf(err)
	}
	out.FromStat(&st)
	return 0
}

// Lseek finds data and holes.
func (h *handle) Lseek(_ context.Context, off uint64, whence uint32) (uint64, syscall.Errno) {
	n, err := syscall.Seek(h.fd, int64(off), int(whence))
	return uint64(n), errnoOf(err)
}
