// Package images builds the container images that faultline needs, without a
// registry: from Go modules, from Debian packages, and from faultline's own
// binary, by importing tar files into the engine. Each recipe is also a Dockerfile
// in the folder recipes.
package images

import (
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/client"
)

//go:embed recipes
var recipeFiles embed.FS

const (
	prefix = "faultline/"
	// Self is faultline's own image.
	Self = prefix + "faultline"
	// label is on every image that was built here.
	label = "faultline.image"
	// buildTimeout bounds one build; etcd takes two minutes on two cold cores.
	buildTimeout = 20 * time.Minute
)

// ErrVersion is the error for a version that does not exist or that no recipe can
// build: bad input, not a broken machine.
var ErrVersion = errors.New("no such version")

// ErrMissing is the error for an image that is not in the engine and that faultline
// does not build.
var ErrMissing = errors.New("no such image here")

// Recipe is how an image is built.
type Recipe struct {
	Name string `json:"name"`
	Doc  string `json:"doc"`
	// Versions are known to work, the default first.
	Versions []string `json:"versions,omitempty"`
	// root fills a folder with the image's files.
	root func(ctx context.Context, j *job) error
	// args are the build arguments of its Dockerfile for a version.
	args func(version string) map[string]string
}

// Recipes are all of them, faultline's own first.
func Recipes() []Recipe {
	return []Recipe{
		{Name: "faultline", Doc: "faultline itself: the agent, the janitor and the bundled stores", root: selfRoot},
		etcd(),
		{
			Name: "redis", Doc: "Redis and its Sentinel, Debian 12's", Versions: []string{"7.0.15"},
			root: func(ctx context.Context, j *job) error { return j.debian(ctx, "redis") },
		},
		{
			Name: "zookeeper", Doc: "ZooKeeper and a Java runtime, Debian 12's", Versions: []string{"3.8.0"},
			root: zookeeperRoot,
		},
	}
}

func zookeeperRoot(ctx context.Context, j *job) error {
	if err := j.debian(ctx, "zookeeper"); err != nil {
		return err
	}
	b, err := recipeFiles.ReadFile("recipes/zookeeper/start")
	if err != nil {
		return err
	}
	dir := filepath.Join(j.root, "usr/local/bin")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "faultline-zookeeper"), b, 0o755)
}

// Ref is how a Pod names an image of ours; an empty version is the default.
func Ref(name, version string) string {
	if version == "" {
		return prefix + name
	}
	return prefix + name + ":" + version
}

// Ours says whether faultline builds the image.
func Ours(ref string) bool { return strings.HasPrefix(ref, prefix) }

// Builder builds images in an engine.
type Builder struct {
	Engine *client.Client
	// Cache keeps build folders, "" for the user's cache folder.
	Cache string
	// Progress is told what is being done; nil for nobody.
	Progress func(text string)
}

func (b Builder) say(format string, args ...any) {
	if b.Progress != nil {
		b.Progress(fmt.Sprintf(format, args...))
	}
}

// Ensure returns the name of an image in the engine for ref, after building it
// where it is ours and missing. It pulls nothing.
func (b Builder) Ensure(ctx context.Context, ref string) (string, error) {
	if !Ours(ref) {
		ok, err := b.has(ctx, ref)
		if err == nil && !ok {
			err = fmt.Errorf("images: %w: %s; get it with `docker pull %s`", ErrMissing, ref, ref)
		}
		return ref, err
	}
	r, version, err := find(ref)
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, buildTimeout)
	defer cancel()
	j, err := b.newJob(ctx, r, version)
	if err != nil {
		return "", err
	}
	defer j.close()
	if ok, err := b.has(ctx, j.tag); ok || err != nil {
		return j.tag, err
	}
	unlock, err := lock(ctx, filepath.Join(j.cache, "build.lock"))
	if err != nil {
		return "", err
	}
	defer unlock()
	if ok, err := b.has(ctx, j.tag); ok || err != nil { // somebody else built it
		return j.tag, err
	}
	start := time.Now()
	if r.Name != "faultline" {
		b.say("building image %s", j.tag)
	}
	if err := j.build(ctx); err != nil {
		return "", fmt.Errorf("images: build %s: %w", strings.TrimPrefix(ref, prefix), err)
	}
	if r.Name == "faultline" {
		b.prune(ctx, j.tag)
	} else {
		b.say("built image %s in %s", j.tag, time.Since(start).Round(100*time.Millisecond))
	}
	return j.tag, nil
}

// prune removes the images of other binaries that nobody uses.
func (b Builder) prune(ctx context.Context, current string) {
	if old, err := b.Stale(ctx, current, pruneAge); err == nil {
		_, _ = b.Remove(ctx, old)
	}
}

// Current is the name of this binary's own image, whether it is there or not.
func (b Builder) Current(ctx context.Context) (string, error) {
	j, err := b.newJob(ctx, Recipes()[0], "")
	if err != nil {
		return "", err
	}
	defer j.close()
	return j.tag, nil
}

// Stale are the images of faultline's own binary, but for the current one, that no
// container uses and that are at least so old, since a young one may be about to be
// used. Nothing is lost with them: whoever has the binary makes its image again in a
// second.
func (b Builder) Stale(ctx context.Context, current string, age time.Duration) ([]Image, error) {
	all, err := b.List(ctx)
	if err != nil {
		return nil, err
	}
	used, err := b.Engine.ContainerList(ctx, client.ContainerListOptions{All: true})
	if err != nil {
		return nil, fmt.Errorf("images: list containers: %w", err)
	}
	busy := map[string]bool{}
	for _, c := range used.Items {
		busy[c.ImageID] = true
	}
	return slices.DeleteFunc(all, func(i Image) bool {
		return i.Name != "faultline" || i.Ref == current || busy[i.id] || time.Since(i.Created) < age
	}), nil
}

// Remove removes images, but for those that came into use meanwhile, which the
// engine refuses. It returns what it removed.
func (b Builder) Remove(ctx context.Context, old []Image) ([]Image, error) {
	var gone []Image
	var errs []error
	for _, i := range old {
		_, err := b.Engine.ImageRemove(ctx, i.Ref, client.ImageRemoveOptions{PruneChildren: true})
		switch {
		case err == nil, errdefs.IsNotFound(err):
			gone = append(gone, i)
		case !errdefs.IsConflict(err):
			errs = append(errs, fmt.Errorf("images: remove %s: %w", i.Ref, err))
		}
	}
	return gone, errors.Join(errs...)
}

// find splits a ref of ours.
func find(ref string) (Recipe, string, error) {
	name, version, _ := strings.Cut(strings.TrimPrefix(ref, prefix), ":")
	all := Recipes()
	i := slices.IndexFunc(all, func(r Recipe) bool { return r.Name == name })
	if i < 0 {
		var names []string
		for _, r := range all {
			names = append(names, r.Name)
		}
		return Recipe{}, "", fmt.Errorf("%w: no recipe for %q; there are: %s", ErrMissing, name, strings.Join(names, ", "))
	}
	r := all[i]
	if version == "" && len(r.Versions) > 0 {
		version = r.Versions[0]
	}
	version = strings.TrimPrefix(version, "v")
	if err := checkVersion(r, version); err != nil {
		return Recipe{}, "", err
	}
	return r, version, nil
}

// checkVersion refuses what can be refused without asking anybody.
func checkVersion(r Recipe, version string) error {
	for _, c := range version {
		if !strings.ContainsRune("0123456789abcdefghijklmnopqrstuvwxyz.-", c) {
			return fmt.Errorf("images: %s %q: %w; versions look like %s", r.Name, version, ErrVersion, first(r.Versions, "1.2.3"))
		}
	}
	if r.Name != "etcd" && len(r.Versions) > 0 && !slices.Contains(r.Versions, version) {
		return fmt.Errorf("images: %s %s: %w; there is %s, others by --image", r.Name, version, ErrVersion, strings.Join(r.Versions, ", "))
	}
	return nil
}

func first(s []string, otherwise string) string {
	if len(s) > 0 {
		return s[0]
	}
	return otherwise
}

func (b Builder) has(ctx context.Context, ref string) (bool, error) {
	_, err := b.Engine.ImageInspect(ctx, ref)
	if errdefs.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("images: inspect %s: %w", ref, err)
	}
	return true, nil
}

// Image is one that was built here.
type Image struct {
	Name    string    `json:"name"`
	Version string    `json:"version,omitempty"`
	Ref     string    `json:"ref"`
	Bytes   int64     `json:"bytes"`
	Created time.Time `json:"created"`
	// Stale says that it is an earlier build of faultline's own that nothing uses.
	Stale bool `json:"stale,omitempty"`

	id string
}

// List is what was built here and is in the engine.
func (b Builder) List(ctx context.Context) ([]Image, error) {
	r, err := b.Engine.ImageList(ctx, client.ImageListOptions{Filters: make(client.Filters).Add("label", label)})
	if err != nil {
		return nil, fmt.Errorf("images: list: %w", err)
	}
	out := []Image{}
	for _, i := range r.Items {
		name, version, _ := strings.Cut(i.Labels[label], ":")
		for _, ref := range i.RepoTags {
			out = append(out, Image{
				Name: name, Version: version, Ref: ref, Bytes: i.Size, Created: time.Unix(i.Created, 0), id: i.ID,
			})
		}
	}
	slices.SortFunc(out, func(a, b Image) int { return strings.Compare(a.Ref, b.Ref) })
	return out, nil
}

// recipeKey is the hash of all that a recipe and version say.
func recipeKey(name, version string) string {
	h := sha256.New()
	fmt.Fprintln(h, "1", name, version)
	root := "recipes/" + name
	_ = fs.WalkDir(recipeFiles, root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := recipeFiles.ReadFile(path)
		fmt.Fprintf(h, "%s %d\n%s", path, len(b), b)
		return err
	})
	return hex.EncodeToString(h.Sum(nil))[:10]
}

// fileKey is the hash of a file.
func fileKey(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil))[:10], nil
}
