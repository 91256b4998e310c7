package reports

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

func (p *page) facts() {
	r := p.R
	add := func(name, value string) {
		if value != "" {
			p.Facts = append(p.Facts, fact{name, value})
		}
	}
	system := subject(r)
	if r.Bug != "" {
		system += " with the planted bug " + r.Bug
	}
	add("System", system)
	add("Workload", r.Workload)
	add("Faults", strings.Join(asKinds(r.Nemesis), ", "))
	load := plural(r.Nodes, "node") + ", " + plural(r.Concurrency, "client")
	if r.On != "" {
		load += ", on " + r.On
	}
	if r.Nodes > 0 {
		add("Cluster", load)
	}
	if r.Ops.Total > 0 {
		add("Operations", fmt.Sprintf("%s, %s ok", thousands(r.Ops.Total), percent(r.Ops.Share())))
	}
	if r.Duration > 0 {
		add("Lasted", short(r.Duration))
	}
	add("Seed", strconv.FormatUint(r.Seed, 10))
	if t := p.src.Test; t != nil {
		p.asked(*t)
	}
}

func (p *page) asked(t Test) {
	add := func(name, value string) {
		if value != "" {
			p.Asked = append(p.Asked, fact{name, value})
		}
	}
	add("Command", strings.Join(append([]string{"faultline"}, t.Argv...), " "))
	add("System", strings.TrimSpace(t.System+" "+t.Version))
	add("Image", t.Image)
	add("Planted bug", t.Bug)
	add("Workload", t.Workload)
	add("Faults", strings.Join(t.Nemesis, ", "))
	add("World", t.On)
	add("Nodes", strings.Join(t.Nodes, ", "))
	add("Generator", fmt.Sprintf("%s on %s, %s%s", plural(t.Concurrency, "client"), plural(t.Keys, "key"), pace(t.Rate), mix(p.R.Ops)))
	add("Time", short(t.Time))
	add("Seed", strconv.FormatUint(t.Seed, 10))
	for _, k := range slices.Sorted(maps.Keys(t.Options)) {
		add("Option "+k, t.Options[k])
	}
	add("Check budget", short(t.Check.Timeout)+", "+bytesWords(t.Check.Memory))
	add("Faultline", strings.TrimSpace(t.Faultline.Version+" "+t.Faultline.Commit+" "+t.Faultline.Go))
	add("Machine", strings.TrimSpace(fmt.Sprintf("%s/%s, %s %s", t.Host.OS, t.Host.Arch, plural(t.Host.CPUs, "CPU"), t.Host.Kernel)))
	for _, k := range slices.Sorted(maps.Keys(t.Versions)) {
		add("Version of "+k, t.Versions[k])
	}
}

// mix is which kinds of operation were made: ": 61 % read, 39 % write".
func mix(o Ops) string {
	var kinds []string
	for _, f := range slices.Sorted(maps.Keys(o.ByF)) {
		kinds = append(kinds, percent(float64(o.ByF[f].Total)/float64(max(1, o.Total)))+" "+f)
	}
	if len(kinds) == 0 {
		return ""
	}
	return ": " + list(kinds)
}

func pace(rate float64) string {
	if rate == 0 {
		return "as fast as they answer"
	}
	return rateText(rate)
}
