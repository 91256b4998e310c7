package nemesis

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/faultline-dev/faultline/options"
)

// Spec is a fault that was asked for, as "partition:majority".
type Spec struct {
	Fault string
	Arg   string
	// Options are the fault's, resolved, with interval and for among them.
	Options options.Values
}

// String is the spec as it is written in flags.
func (s Spec) String() string {
	if s.Arg == "" {
		return s.Fault
	}
	return s.Fault + ":" + s.Arg
}

// Parse reads faults separated by commas, for a cluster of these nodes; "none" and
// the empty text are no faults. given are the options of all faults, by names such
// as partition.interval.
func Parse(faults []Fault, text string, nodes []string, given map[string]string) ([]Spec, error) {
	var specs []Spec
	for part := range strings.SplitSeq(text, ",") {
		part = strings.TrimSpace(part)
		if part == "none" && strings.TrimSpace(text) != "none" {
			return nil, fmt.Errorf("nemesis: none stands alone, not in %q", text)
		}
		if part == "none" || part == "" && text == "" {
			continue
		}
		s, err := parse(faults, part, nodes)
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(specs, func(o Spec) bool { return o.String() == s.String() }) {
			return nil, fmt.Errorf("nemesis: %s is asked for twice", s)
		}
		specs = append(specs, s)
	}
	return specs, resolve(faults, specs, len(nodes), given)
}

func parse(faults []Fault, part string, nodes []string) (Spec, error) {
	name, arg, colon := strings.Cut(part, ":")
	f, err := Find(faults, name)
	if err != nil {
		return Spec{}, err
	}
	if colon && arg == "" {
		return Spec{}, fmt.Errorf("nemesis: nothing follows the colon in %q", part)
	}
	return Spec{Fault: name, Arg: arg}, f.checkArg(arg, nodes)
}

// checkArg refuses an argument that the fault does not take, or not with these
// nodes.
func (f Fault) checkArg(arg string, nodes []string) error {
	word := slices.ContainsFunc(f.Args, func(a Arg) bool { return a.Name == arg })
	switch {
	case arg == "" && f.Deck == nil, word:
	case arg == "":
		if len(f.Deck(len(nodes), false)) == 0 {
			return fmt.Errorf("nemesis: %s is not possible with %d nodes; use more with --nodes", f.Name, len(nodes))
		}
		return nil
	case f.Names || f.Groups:
		if err := f.checkNames(arg, nodes); err != nil {
			return err
		}
	default:
		return fmt.Errorf("nemesis: %s does not take %q; %s", f.Name, arg, f.takes())
	}
	if f.Check == nil {
		return nil
	}
	if err := f.Check(arg, len(nodes)); err != nil {
		return fmt.Errorf("nemesis: %s:%s: %w", f.Name, arg, err)
	}
	return nil
}

// checkNames refuses names that no node has, and names that come twice.
func (f Fault) checkNames(arg string, nodes []string) error {
	groups := Groups(arg)
	if len(groups) > 1 && !f.Groups {
		return fmt.Errorf("nemesis: %s takes no groups, but %q has a |", f.Name, arg)
	}
	if len(groups) == 1 && !f.Names {
		return fmt.Errorf("nemesis: %s does not take %q; %s", f.Name, arg, f.takes())
	}
	var seen []string
	for _, name := range slices.Concat(groups...) {
		if !slices.Contains(nodes, name) {
			return fmt.Errorf("nemesis: %s:%s: %q is no node (%s); %s", f.Name, arg, name, strings.Join(nodes, ", "), f.takes())
		}
		if slices.Contains(seen, name) {
			return fmt.Errorf("nemesis: %s:%s: %s comes twice", f.Name, arg, name)
		}
		seen = append(seen, name)
	}
	return nil
}

func (f Fault) takes() string {
	var words []string
	for _, a := range f.Args {
		words = append(words, a.Name)
	}
	if f.Names {
		words = append(words, "names of nodes joined by +")
	}
	if f.Groups {
		words = append(words, "groups such as n1+n2|n3")
	}
	if len(words) == 0 {
		return "it takes nothing"
	}
	return "it takes " + strings.Join(words, ", ")
}

// Groups are the names in an argument like "n1+n2|n3".
func Groups(arg string) [][]string {
	var groups [][]string
	for g := range strings.SplitSeq(arg, "|") {
		groups = append(groups, strings.Split(g, "+"))
	}
	return groups
}

// Common are the options that every fault has.
func Common() []options.Option {
	return []options.Option{
		{Name: "interval", Doc: "time from one start of the fault to the next; --interval unless given", Kind: options.Duration, Min: "10ms"},
		{Name: "for", Doc: "how long each lasts; a part of the interval unless given", Kind: options.Duration, Min: "1ms"},
	}
}

// Split parts the options of faults (partition.interval) from those of systems and
// workloads, which have no dot.
func Split(given map[string]string) (faults, others map[string]string) {
	faults, others = map[string]string{}, map[string]string{}
	for name, v := range given {
		if strings.Contains(name, ".") {
			faults[name] = v
		} else {
			others[name] = v
		}
	}
	return faults, others
}

// refuses says why options mean nothing with an argument, or nil.
func (f Fault) refuses(arg string, nodes int, o options.Values) error {
	if o["keep"] != "" && o["break"] != "" {
		return errors.New("options keep and break: a quorum cannot be kept and broken; give one")
	}
	if f.Refuse == nil {
		return nil
	}
	return f.Refuse(arg, nodes, o)
}

// deck are the words for steps without one that these options allow.
func (f Fault) deck(nodes int, leader bool, o options.Values) []string {
	return slices.DeleteFunc(f.Deck(nodes, leader), func(arg string) bool { return f.refuses(arg, nodes, o) != nil })
}

// resolve fills in the options of all specs.
func resolve(faults []Fault, specs []Spec, nodes int, given map[string]string) error {
	mine := map[string]map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(given)) {
		fault, option, _ := strings.Cut(name, ".")
		if _, err := Find(faults, fault); err != nil {
			return fmt.Errorf("option %s: %w", name, err)
		}
		if !slices.ContainsFunc(specs, func(s Spec) bool { return s.Fault == fault }) {
			return fmt.Errorf("nemesis: option %s is given, but %s is not among the faults; add it to --nemesis", name, fault)
		}
		if mine[fault] == nil {
			mine[fault] = map[string]string{}
		}
		mine[fault][option] = given[name]
	}
	var errs []error
	for i, s := range specs {
		f, err := Find(faults, s.Fault)
		if err != nil {
			return err
		}
		specs[i].Options, err = options.Resolve(append(Common(), f.Options...), mine[s.Fault])
		if err == nil {
			err = f.refuses(s.Arg, nodes, specs[i].Options)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("nemesis: %s: %w", s, err))
		}
	}
	return errors.Join(errs...)
}
