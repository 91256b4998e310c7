package command

import (
	"strings"

	"github.com/faultline-dev/faultline/clients"
	allclients "github.com/faultline-dev/faultline/clients/all"
	"github.com/faultline-dev/faultline/stores/paxos"
	"github.com/faultline-dev/faultline/stores/raft"
)

// systems are the systems, with the bugs of the bundled ones.
func systems() []clients.System { return allclients.All(bugs()) }

// bugs is the catalogue: a bundled store knows what it can do wrong, but nothing
// of those who look for it.
func bugs() []clients.Bug {
	var all []clients.Bug
	for _, b := range raft.Catalogue() {
		all = append(all, clients.Bug{
			System: "raft", Name: b.Name, Doc: b.Doc, Rule: b.Rule, Workload: b.Workload, Expects: b.Expects,
			Nemesis: b.Nemesis, Options: pairs(b.Options),
		})
	}
	for _, b := range paxos.Catalogue() {
		all = append(all, clients.Bug{
			System: "paxos", Name: b.Name, Doc: b.Doc, Rule: b.Rule, Workload: b.Workload, Expects: b.Expects,
			Nemesis: b.Nemesis, Options: pairs(b.Options),
		})
	}
	return all
}

// pairs reads key=value texts.
func pairs(texts []string) map[string]string {
	m := map[string]string{}
	for _, t := range texts {
		k, v, _ := strings.Cut(t, "=")
		m[k] = v
	}
	return m
}
