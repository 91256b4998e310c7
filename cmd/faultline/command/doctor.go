package command

import (
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/faultline-dev/faultline/cluster"
	"github.com/faultline-dev/faultline/cluster/local"
	"github.com/faultline-dev/faultline/docker"
	"github.com/faultline-dev/faultline/docker/agent"
	"github.com/faultline-dev/faultline/docker/images"
	"github.com/faultline-dev/faultline/sim"
)

// diagnosis is what `doctor --json` prints.
type diagnosis struct {
	docker.Report
	Faults []ability `json:"faults"`
	// Worlds that are missing as a whole, and why.
	Missing map[string]string `json:"missing,omitempty"`
	Removed []docker.Item     `json:"removed,omitempty"`
	// RemovedImages are of faultline's own binary.
	RemovedImages []images.Image `json:"removed_images,omitempty"`
}

// ability says where a fault can be injected: "" or why not, by world.
type ability struct {
	Fault  string            `json:"fault"`
	Worlds map[string]string `json:"worlds"`
}

func newDoctorCmd(env *Env) *cobra.Command {
	var clean, asJSON bool
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Say what this machine can do: engine, images, each fault and why not",
		Long: `Says whether a container engine answers, which images are there, which faults are
possible in which world and why others are not, and what runs have left in the
engine. To learn what the engine's kernel can do it starts two agents for a moment.
It removes nothing, unless --clean is given: then it removes what certainly belongs
to runs of this machine that are dead, and images of other builds of faultline that
no container uses and that are older than an hour.`,
		Example: `  faultline doctor
  faultline doctor --clean
  faultline doctor --json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			d, err := env.diagnose(cmd.Context(), clean)
			if err != nil {
				return containerError(err)
			}
			if asJSON {
				return printJSON(env.Stdout, d)
			}
			return d.print(env.Stdout, clean)
		},
	}
	cmd.Flags().BoolVar(&clean, "clean", false, "remove what certainly belongs to dead runs")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print an object")
	return cmd
}

func (env *Env) diagnose(ctx context.Context, clean bool) (diagnosis, error) {
	var d diagnosis
	if clean {
		if e, err := docker.Open(ctx); err == nil {
			d.Removed, err = docker.Sweep(ctx, e)
			if err == nil {
				d.RemovedImages, err = docker.SweepImages(ctx, e)
			}
			if err = errFirst(err, e.Close()); err != nil {
				return d, err
			}
		}
	}
	bare, why := bareCluster(ctx)
	if bare != nil {
		defer func() { _ = bare.Down(ctx) }()
	}
	d.Report = docker.Examine(ctx, bare)
	worlds := map[string]cluster.Cluster{onSim: sim.New(sim.Draw(1))}
	reasons := map[string]string{}
	dir, err := os.MkdirTemp("", "faultline-doctor-*")
	if err != nil {
		return d, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	l, err := local.New(local.Config{Names: local.Names(2), Ports: env.localPorts(), Dir: dir, Framed: true, Command: self})
	if err != nil {
		reasons[onLocal] = err.Error()
	} else {
		worlds[onLocal] = l
	}
	if bare == nil {
		reasons[onDocker] = why.Error()
	} else {
		worlds[onDocker] = bare
	}
	d.Faults, d.Missing = env.abilities(worlds, reasons), reasons
	return d, nil
}

// localPorts are those of a system that runs as processes.
func (env *Env) localPorts() []cluster.Port {
	for _, s := range env.Systems {
		if s.Process != nil {
			return s.Ports
		}
	}
	return nil
}

// self is how a bundled store starts.
func self(cluster.Launch) (cluster.Command, error) {
	exe, err := os.Executable()
	return cluster.Command{Path: exe}, err
}

func errFirst(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// bareCluster is two agents without a system, to ask what they can do.
func bareCluster(ctx context.Context) (*docker.Cluster, error) {
	c, err := docker.New(docker.Config{Nodes: local.Names(2), Bare: true})
	if err != nil {
		return nil, err
	}
	if err := c.Up(ctx); err != nil {
		return nil, err
	}
	return c, nil
}

// abilities asks every fault of every world.
func (env *Env) abilities(worlds map[string]cluster.Cluster, reasons map[string]string) []ability {
	all := []ability{}
	for _, f := range env.Faults {
		a := ability{Fault: f.Name, Worlds: maps.Clone(reasons)}
		for name, w := range worlds {
			a.Worlds[name] = ""
			if f.Needs == nil {
				continue
			}
			if err := f.Needs(w, "", nil); err != nil {
				a.Worlds[name] = err.Error()
			}
		}
		a.hint()
		all = append(all, a)
	}
	return all
}

// hint adds where the fault is possible to the reasons why it is not elsewhere.
func (a ability) hint() {
	var can []string
	for _, w := range []string{onSim, onLocal, onDocker} {
		if why, asked := a.Worlds[w]; asked && why == "" {
			can = append(can, "--on "+w)
		}
	}
	for w, why := range a.Worlds {
		if why != "" && len(can) > 0 {
			a.Worlds[w] = why + "; it is possible with " + strings.Join(can, " or ")
		}
	}
}

func (d diagnosis) print(w io.Writer, clean bool) error {
	p := &printer{w: w}
	if e := d.Engine; e != nil {
		p.line("engine   %s, API %s, %s/%s, at %s", e.Version, e.API, e.OS, e.Arch, e.Host)
	} else {
		p.line("engine   none: %s", d.Reason)
	}
	d.printKernel(p)
	d.printImages(p)
	p.line("")
	d.printFaults(p)
	p.line("")
	printItems(p, "removed", d.Removed)
	printItems(p, "left", d.Left)
	switch gone := slices.ContainsFunc(d.Left, func(i docker.Item) bool { return i.Fate == docker.Gone }); {
	case gone && !clean:
		p.line("`faultline doctor --clean` removes what belongs to processes that are gone.")
	case len(d.Left) == 0 && len(d.Removed) == 0:
		p.line("Nothing is left of any run in the engine.")
	}
	return p.err
}

func (d diagnosis) printImages(p *printer) {
	sum := func(all []images.Image) (mb int64) {
		for _, i := range all {
			mb += i.Bytes >> 20
		}
		return mb
	}
	var stale []images.Image
	for _, i := range d.Images {
		if i.Stale {
			stale = append(stale, i)
			continue
		}
		p.line("image    %s, %d MB", i.Ref, i.Bytes>>20)
	}
	if n := len(stale); n > 0 {
		p.line("stale    %d images of other builds of faultline, %d MB; `faultline doctor --clean` removes them", n, sum(stale))
	}
	if n := len(d.RemovedImages); n > 0 {
		p.line("removed  %d images of other builds of faultline, %d MB", n, sum(d.RemovedImages))
	}
}

// printItems sums items up by their run.
func printItems(p *printer, word string, items []docker.Item) {
	var runs []string
	by := map[string]map[string]int{}
	owner := map[string]docker.Item{}
	for _, i := range items {
		if by[i.Run] == nil {
			runs, by[i.Run] = append(runs, i.Run), map[string]int{}
		}
		by[i.Run][i.Kind]++
		owner[i.Run] = i
	}
	for _, run := range runs {
		var parts []string
		for _, kind := range slices.Sorted(maps.Keys(by[run])) {
			parts = append(parts, fmt.Sprintf("%d %ss", by[run][kind], kind))
		}
		state := map[docker.Fate]string{
			docker.Alive: "which is running", docker.Gone: "which is gone", docker.Unknown: "of another machine, boot or container",
		}[owner[run].Fate]
		p.line("%-8s run %s: %s; made by process %d, %s", word, run, strings.Join(parts, ", "), owner[run].PID, state)
	}
}

func (d diagnosis) printKernel(p *printer) {
	var have, lack []string
	for _, k := range slices.Sorted(maps.Keys(d.Kernel)) {
		if k == agent.FeatureNetem {
			continue
		}
		if why := d.Kernel[k]; why != "" {
			lack = append(lack, k+" ("+why+")")
		} else {
			have = append(have, k)
		}
	}
	if len(have) > 0 {
		p.line("kernel   has %s", strings.Join(have, ", "))
	}
	if len(lack) > 0 {
		p.line("         lacks %s", strings.Join(lack, ", "))
	}
	if why, asked := d.Kernel[agent.FeatureNetem]; asked {
		by := "the kernel's netem, damaged by the agents in user space"
		if why != "" {
			by = "the agents in user space, not by the kernel (" + why + ")"
		}
		p.line("packets  are shaped by %s", by)
	}
}

func (d diagnosis) printFaults(p *printer) {
	worlds := []string{onSim, onLocal, onDocker}
	t := tabwriter.NewWriter(p, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "fault\t"+strings.Join(worlds, "\t"))
	var why []string
	for _, a := range d.Faults {
		cells := []string{a.Fault}
		for _, w := range worlds {
			if a.Worlds[w] == "" {
				cells = append(cells, "yes")
				continue
			}
			cells = append(cells, "no")
			if d.Missing[w] != "" {
				continue
			}
			if text := fmt.Sprintf("%s on %s: %s", a.Fault, w, a.Worlds[w]); !slices.Contains(why, text) {
				why = append(why, text)
			}
		}
		fmt.Fprintln(t, strings.Join(cells, "\t"))
	}
	if err := t.Flush(); err != nil {
		p.err = err
	}
	for _, w := range slices.Sorted(maps.Keys(d.Missing)) {
		p.line("nothing on %s: %s", w, d.Missing[w])
	}
	for _, text := range why {
		p.line("%s", text)
	}
}

// printer remembers the first error.
type printer struct {
	w   io.Writer
	err error
}

// Write implements io.Writer.
func (p *printer) Write(b []byte) (int, error) {
	n, err := p.w.Write(b)
	if p.err == nil {
		p.err = err
	}
	return n, err
}

func (p *printer) line(format string, args ...any) { fmt.Fprintf(p, format+"\n", args...) }
