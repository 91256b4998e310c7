package command

import (
	"slices"
	"testing"

	"github.com/faultline-dev/faultline/reports"
)

// A column goes by what the others did not test, and has no such name where
// another one tested the same.
func TestDiffering(t *testing.T) {
	group := func(system, version, reads string) reports.Group {
		r := reports.Results{System: system, Version: version, Workload: "register", On: "docker", Options: map[string]string{"reads": reads}}
		return reports.Group{Runs: []reports.Results{r}}
	}
	weak, strong := group("etcd", "3.6", "serializable"), group("etcd", "3.6", "linearizable")
	for _, c := range []struct {
		groups []reports.Group
		want   []string
	}{
		{[]reports.Group{strong, weak}, []string{"reads=linearizable", "reads=serializable"}},
		{[]reports.Group{strong, group("redis", "7.0", "linearizable")}, []string{"etcd 3.6", "redis 7.0"}},
		{[]reports.Group{strong, weak, weak}, []string{"reads=linearizable", "", ""}},
		{[]reports.Group{strong}, []string{""}},
	} {
		if got := differing(c.groups); !slices.Equal(got, c.want) {
			t.Errorf("%q, not %q", got, c.want)
		}
	}
}
