package images

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/moby/moby/client"
)

// job is one image that is to be built.
type job struct {
	Builder
	recipe  Recipe
	version string
	arch    string // the engine's
	tag     string
	key     string
	cache   string // of faultline
	dir     string // of this job, removed at the end
	root    string // the image's files
	self    string // the binary, for faultline's own image
}

func (b Builder) newJob(ctx context.Context, r Recipe, version string) (*job, error) {
	v, err := b.Engine.ServerVersion(ctx, client.ServerVersionOptions{})
	if err != nil {
		return nil, fmt.Errorf("images: the engine's version: %w", err)
	}
	j := &job{Builder: b, recipe: r, version: version, arch: v.Arch, cache: b.Cache}
	if j.cache == "" {
		c, err := os.UserCacheDir()
		if err != nil {
			c = os.TempDir()
		}
		j.cache = filepath.Join(c, "faultline")
	}
	if err := os.MkdirAll(j.cache, 0o755); err != nil {
		return nil, fmt.Errorf("images: cache: %w", err)
	}
	j.key = recipeKey(r.Name, version)
	j.tag = Ref(r.Name, version) + "-" + j.key
	if r.Name == "faultline" {
		if j.self, err = ownBinary(ctx, j); err != nil {
			return nil, err
		}
		if j.key, err = fileKey(j.self); err != nil {
			return nil, err
		}
		j.tag = Self + ":" + j.key
	}
	return j, nil
}

func (j *job) close() {
	if j.dir != "" {
		_ = os.RemoveAll(j.dir)
	}
}

// build fills the root and imports it, or has the engine build the Dockerfile
// where this machine lacks the tools.
func (j *job) build(ctx context.Context) (err error) {
	if j.dir, err = os.MkdirTemp(j.cache, "build-*"); err != nil {
		return err
	}
	j.root = filepath.Join(j.dir, "root")
	if err := os.Mkdir(j.root, 0o755); err != nil {
		return err
	}
	err = j.recipe.root(ctx, j)
	if lack, ok := errors.AsType[*lacking](err); ok {
		j.say("%s; the engine builds it from its Dockerfile instead", lack)
		return j.dockerfile(ctx)
	}
	if err != nil {
		return err
	}
	return j.load(ctx)
}

// lacking is the error for a tool that this machine does not have.
type lacking struct{ what string }

func (l *lacking) Error() string { return l.what + " on this machine" }

// load imports the root as an image.
func (j *job) load(ctx context.Context) error {
	pr, pw := io.Pipe()
	go func() { pw.CloseWithError(tarball(pw, j.root)) }()
	r, err := j.Engine.ImageImport(ctx, client.ImageImportSource{Source: pr, SourceName: "-"}, j.tag,
		client.ImageImportOptions{Changes: j.changes()})
	if err != nil {
		_ = pr.CloseWithError(err)
		return fmt.Errorf("import: %w", err)
	}
	return messages(r)
}

// changes are the last lines of the recipe's Dockerfile, from its last stage.
func (j *job) changes() []string {
	out := []string{
		fmt.Sprintf("LABEL %s=%s", label, strings.TrimSuffix(j.recipe.Name+":"+j.version, ":")),
		fmt.Sprintf("LABEL %s.key=%s", label, j.key),
	}
	b, _ := recipeFiles.ReadFile("recipes/" + j.recipe.Name + "/Dockerfile")
	_, last, _ := strings.Cut(string(b), "FROM scratch\n")
	for l := range strings.Lines(last) {
		if strings.HasPrefix(l, "ENV ") || strings.HasPrefix(l, "ENTRYPOINT ") {
			out = append(out, strings.TrimSpace(l))
		}
	}
	return out
}

// dockerfile has the engine build the recipe's Dockerfile.
func (j *job) dockerfile(ctx context.Context) error {
	sub, err := fs.Sub(recipeFiles, "recipes/"+j.recipe.Name)
	if err != nil {
		return err
	}
	var context bytes.Buffer
	w := tar.NewWriter(&context)
	if err := errors.Join(w.AddFS(sub), w.Close()); err != nil {
		return err
	}
	args := map[string]*string{}
	if j.recipe.args != nil {
		for k, v := range j.recipe.args(j.version) {
			args[k] = &v
		}
	}
	r, err := j.Engine.ImageBuild(ctx, &context, client.ImageBuildOptions{
		Tags: []string{j.tag}, BuildArgs: args, Remove: true, ForceRemove: true,
		Labels: map[string]string{label: j.recipe.Name + ":" + j.version, label + ".key": j.key},
	})
	if err != nil {
		return err
	}
	return messages(r.Body)
}

// messages reads what the engine says to the end; its errors come in the stream.
func messages(r io.ReadCloser) error {
	defer func() { _ = r.Close() }()
	d := json.NewDecoder(r)
	for {
		var m struct{ Error string }
		switch err := d.Decode(&m); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		case m.Error != "":
			return errors.New(m.Error)
		}
	}
}

// tarball writes a folder, everything owned by root.
func tarball(w io.Writer, root string) error {
	t := tar.NewWriter(w)
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == root {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		link := ""
		if info.Mode()&fs.ModeSymlink != 0 {
			if link, err = os.Readlink(path); err != nil {
				return err
			}
		}
		h, err := tar.FileInfoHeader(info, link)
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		h.Name, h.Uid, h.Gid, h.Uname, h.Gname = filepath.ToSlash(name), 0, 0, "", ""
		if info.IsDir() {
			h.Name += "/"
		}
		if err := t.WriteHeader(h); err != nil || !info.Mode().IsRegular() {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		_, err = io.Copy(t, f)
		return errors.Join(err, f.Close())
	})
	return errors.Join(err, t.Close())
}

// lock holds a file against other builders of this machine.
func lock(ctx context.Context, path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("images: lock: %w", err)
	}
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return func() { _ = f.Close() }, nil
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(fmt.Errorf("images: waiting for another build: %w", ctx.Err()), f.Close())
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// command runs a tool; its error ends with what the tool said last.
func command(ctx context.Context, dir string, env []string, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), env...)
	cmd.WaitDelay = 5 * time.Second
	out, err := cmd.CombinedOutput()
	if err == nil {
		return nil
	}
	text := strings.TrimSpace(string(out))
	const most = 2000
	if len(text) > most {
		text = "…" + text[len(text)-most:]
	}
	return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, text)
}
