package images

import (
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"runtime/debug"
	"strings"
	"time"
)

// etcd is built from its Go modules, and where no module of a version can be had,
// from Debian's package.
func etcd() Recipe {
	return Recipe{
		Name: "etcd", Doc: "etcd, from its Go modules",
		Versions: []string{"3.6.16", "3.7.3", "3.6.0", "3.5.35", "3.5.2", "3.5.0", "3.4.23", "3.4.3"},
		root:     etcdRoot,
		args: func(version string) map[string]string {
			m := etcdModule(version)
			return map[string]string{"MODULE": m.path, "QUERY": m.query, "GOVERSION": m.language}
		},
	}
}

// module is what to build of a version.
type module struct{ path, query, language string }

// debianEtcd is the version of Debian 12's package.
const debianEtcd = "3.4.23"

func etcdModule(version string) module {
	if version == "3.4.3" {
		// Before 3.5 the module's path lacked its major version, so that only
		// commits can be named.
		return module{"go.etcd.io/etcd", "v0.0.0-20191023171146-3cf2f69b5738", "1.17"}
	}
	return module{"go.etcd.io/etcd/server/v3", "v" + version, "1.26"}
}

func etcdRoot(ctx context.Context, j *job) error {
	var major, minor, patch int
	if _, err := fmt.Sscanf(j.version, "%d.%d.%d", &major, &minor, &patch); err != nil || major != 3 || minor < 4 {
		return fmt.Errorf("%w; 3.4 and newer are possible, like %s", ErrVersion, strings.Join(j.recipe.Versions, ", "))
	}
	if j.version == debianEtcd {
		if err := j.debian(ctx, "etcd"); err != nil {
			return err
		}
		return j.move("usr/bin/etcd", "usr/local/bin/etcd")
	}
	if minor == 4 && j.version != "3.4.3" {
		return fmt.Errorf("%w to be built; of 3.4 there are 3.4.3 and %s, others by --image", ErrVersion, debianEtcd)
	}
	if _, err := exec.LookPath("go"); err != nil {
		return &lacking{"there is no Go tool"}
	}
	return j.goBuild(ctx, etcdModule(j.version), "usr/local/bin/etcd")
}

func (j *job) move(from, to string) error {
	to = filepath.Join(j.root, to)
	return errors.Join(os.MkdirAll(filepath.Dir(to), 0o755), os.Rename(filepath.Join(j.root, from), to))
}

// goEnv makes a static binary for the engine's machine.
func (j *job) goEnv() []string {
	return []string{"CGO_ENABLED=0", "GOOS=linux", "GOARCH=" + j.arch, "GOWORK=off", "GOFLAGS=-mod=mod"}
}

// goBuild builds a main package by its import path in an empty module.
func (j *job) goBuild(ctx context.Context, m module, to string) error {
	src := filepath.Join(j.dir, "src")
	if err := os.Mkdir(src, 0o755); err != nil {
		return err
	}
	mod := fmt.Sprintf("module build\n\ngo %s\n", m.language)
	if err := os.WriteFile(filepath.Join(src, "go.mod"), []byte(mod), 0o644); err != nil {
		return err
	}
	j.say("fetching %s %s", m.path, m.query)
	if err := command(ctx, src, j.goEnv(), "go", "get", m.path+"@"+m.query); err != nil {
		return j.noVersion(err)
	}
	j.say("compiling %s %s; the first time takes a minute or two", j.recipe.Name, j.version)
	return command(ctx, src, j.goEnv(), "go", "build", "-trimpath", "-ldflags", "-s -w",
		"-o", filepath.Join(j.root, to), m.path)
}

// noVersion tells a version that is not there from a network that is not.
func (j *job) noVersion(err error) error {
	for _, sign := range []string{
		"unknown revision", "invalid version", "not available", "404 Not Found", "410 Gone", "403 Forbidden", "no matching versions",
	} {
		if strings.Contains(err.Error(), sign) {
			return fmt.Errorf("%w; known to work: %s (%s)", ErrVersion, strings.Join(j.recipe.Versions, ", "), sign)
		}
	}
	return err
}

// debian fetches packages and unpacks them without their scripts, with lists of
// its own so that nothing of this machine changes.
func (j *job) debian(ctx context.Context, recipe string) error {
	if err := canDebian(j.arch); err != nil {
		return err
	}
	list, err := recipeFiles.ReadFile("recipes/" + recipe + "/packages")
	if err != nil {
		return err
	}
	debs := filepath.Join(j.dir, "debs")
	for _, d := range []string{"debs", "lists/partial", "archives/partial"} {
		if err := os.MkdirAll(filepath.Join(j.dir, d), 0o755); err != nil {
			return err
		}
	}
	apt := []string{
		"-o", "Dir::State::Lists=" + filepath.Join(j.dir, "lists"), "-o", "Dir::Cache=" + j.dir,
		"-o", "APT::Sandbox::User=", "-o", "Debug::NoLocking=1",
	}
	j.say("fetching Debian's packages for %s", recipe)
	if err := command(ctx, debs, nil, "apt-get", append(apt, "update")...); err != nil {
		return err
	}
	args := append(append(apt, "download"), strings.Fields(string(list))...)
	if err := command(ctx, debs, nil, "apt-get", args...); err != nil {
		return err
	}
	all, err := filepath.Glob(filepath.Join(debs, "*.deb"))
	if err != nil {
		return err
	}
	for _, deb := range all {
		if err := command(ctx, debs, nil, "dpkg-deb", "-x", deb, j.root); err != nil {
			return err
		}
	}
	return j.trim()
}

// trim drops what a container needs not and adds what it does.
func (j *job) trim() error {
	var errs error
	for _, d := range []string{"doc", "man", "locale", "maven-repo"} {
		errs = errors.Join(errs, os.RemoveAll(filepath.Join(j.root, "usr/share", d)))
	}
	for _, d := range []string{"data", "tmp"} {
		errs = errors.Join(errs, os.MkdirAll(filepath.Join(j.root, d), 0o755))
	}
	errs = errors.Join(errs, os.Chmod(filepath.Join(j.root, "tmp"), 0o777|os.ModeSticky))
	if _, err := os.Stat(filepath.Join(j.root, "bin/busybox")); err == nil {
		if _, err := os.Lstat(filepath.Join(j.root, "bin/sh")); os.IsNotExist(err) {
			errs = errors.Join(errs, os.Symlink("busybox", filepath.Join(j.root, "bin/sh")))
		}
	}
	return errs
}

// canDebian says whether this machine's apt gives packages that fit together with
// the recipes.
func canDebian(arch string) error {
	b, _ := os.ReadFile("/etc/os-release")
	if !regexp.MustCompile(`(?m)^VERSION_CODENAME="?bookworm"?$`).Match(b) || arch != runtime.GOARCH {
		return &lacking{"Debian 12's packages cannot be had"}
	}
	for _, tool := range []string{"apt-get", "dpkg-deb"} {
		if _, err := exec.LookPath(tool); err != nil {
			return &lacking{"there is no " + tool}
		}
	}
	return nil
}

const (
	mainPackage = "github.com/faultline-dev/faultline/cmd/faultline"
	// binaryEnv names a static binary to use instead of the running one.
	binaryEnv = "FAULTLINE_BIN"
)

// ownBinary is the binary that goes into faultline's own image: the running one
// where it is a static faultline for the engine's machine, else one built for it.
func ownBinary(ctx context.Context, j *job) (string, error) {
	if path := os.Getenv(binaryEnv); path != "" {
		if err := static(path, j.arch); err != nil {
			return "", fmt.Errorf("images: %s=%s: %w", binaryEnv, path, err)
		}
		return path, nil
	}
	pkg := mainPackage
	info, ok := debug.ReadBuildInfo()
	if ok && info.Path != "" && !strings.HasSuffix(info.Path, ".test") && info.Path != "command-line-arguments" {
		pkg = info.Path
		if exe, err := os.Executable(); err == nil && static(exe, j.arch) == nil {
			return exe, nil
		}
	}
	if _, err := exec.LookPath("go"); err != nil {
		return "", errors.New("images: this binary is not static and there is no Go tool to build one that is: " +
			"build faultline with CGO_ENABLED=0 (`make build` does)")
	}
	unlock, err := lock(ctx, filepath.Join(j.cache, "binary.lock"))
	if err != nil {
		return "", err
	}
	defer unlock()
	path := filepath.Join(j.cache, "faultline-linux-"+j.arch)
	j.say("building a static faultline for the containers")
	env := []string{"CGO_ENABLED=0", "GOOS=linux", "GOARCH=" + j.arch}
	// Each caller builds its own file, since it may belong to another source tree.
	if err := command(ctx, "", env, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", path+".new", pkg); err != nil {
		return "", fmt.Errorf("images: build a static faultline: %w", err)
	}
	key, err := fileKey(path + ".new")
	if err != nil {
		return "", err
	}
	return path + "-" + key, errors.Join(os.Rename(path+".new", path+"-"+key), prune(path+"-*", path+"-"+key))
}

// pruneAge keeps what another process may be about to use.
const pruneAge = time.Hour

// prune removes the binaries of earlier builds.
func prune(pattern, keep string) error {
	all, err := filepath.Glob(pattern)
	for _, f := range all {
		if i, gone := os.Stat(f); gone == nil && f != keep && time.Since(i.ModTime()) > pruneAge {
			err = errors.Join(err, os.Remove(f))
		}
	}
	return err
}

// selfRoot is the binary alone.
func selfRoot(_ context.Context, j *job) error {
	b, err := os.ReadFile(j.self)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(j.root, "faultline"), b, 0o755)
}

// static says why a file cannot run in an empty image.
func static(path, arch string) error {
	f, err := elf.Open(path)
	if err != nil {
		return fmt.Errorf("not a Linux binary: %w", err)
	}
	defer func() { _ = f.Close() }()
	machines := map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}
	if m, ok := machines[arch]; ok && f.Machine != m {
		return fmt.Errorf("it is for %s, the engine for %s", f.Machine, arch)
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return errors.New("it is dynamically linked")
		}
	}
	return nil
}
