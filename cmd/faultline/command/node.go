package command

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/faultline-dev/faultline/internal/exit"
	"github.com/faultline-dev/faultline/stores/node"
	paxosserver "github.com/faultline-dev/faultline/stores/paxos/server"
	raftserver "github.com/faultline-dev/faultline/stores/raft/server"
)

func newNodeCmd(env *Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "node",
		Short:   "Run a node of a bundled store (worlds start these by themselves)",
		Example: "  faultline node raft --help",
		Args:    noArgs,
		RunE:    noSubcommand,
	}
	for _, s := range []storeNode{
		{"raft", "Raft", "linearizable, lease or local", raftserver.Serve},
		{"paxos", "Paxos", "linearizable or local", paxosserver.Serve},
	} {
		cmd.AddCommand(s.command(env))
	}
	return cmd
}

// storeNode is a bundled store whose nodes can be run.
type storeNode struct {
	name, title, reads string
	serve              func(context.Context, node.Config) error
}

func (s storeNode) command(env *Env) *cobra.Command {
	var cfg node.Config
	var peers []string
	cmd := &cobra.Command{
		Use:     s.name,
		Short:   "Run a node of the bundled " + s.title + " store",
		Example: "  faultline node " + s.name + " --name n1 --listen 127.0.0.1:7000 --peer-listen 127.0.0.1:7001 --peer n2=127.0.0.1:7101 --data /tmp/n1",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var err error
			if cfg.Peers, err = parsePeers(peers); err != nil {
				return err
			}
			cfg.Log = slog.New(slog.NewTextHandler(env.Stderr, nil))
			if err := s.serve(cmd.Context(), cfg); err != nil {
				return exit.Brokenf("%w", err)
			}
			return nil
		},
	}
	f := cmd.Flags()
	f.StringVar(&cfg.Name, "name", "", "this node's name")
	f.StringVar(&cfg.Listen, "listen", "127.0.0.1:7000", "address for clients")
	f.StringVar(&cfg.PeerListen, "peer-listen", "127.0.0.1:7001", "address for other nodes")
	f.StringArrayVar(&peers, "peer", nil, "another node, as name=host:port; repeatable")
	f.StringVar(&cfg.Data, "data", "", "folder of the log")
	f.StringVar(&cfg.Bug, "bug", "", "a bug to have; see `faultline list bugs`")
	f.DurationVar(&cfg.Tick, "tick", 10*time.Millisecond, "the unit of its timers")
	f.StringVar(&cfg.Reads, "reads", "linearizable", "how reads are answered that do not say: "+s.reads)
	for _, name := range []string{"name", "data"} {
		_ = cmd.MarkFlagRequired(name) // the flags exist
	}
	return cmd
}

func parsePeers(texts []string) (map[string]string, error) {
	peers := map[string]string{}
	for _, t := range texts {
		name, addr, ok := strings.Cut(t, "=")
		if !ok || name == "" || addr == "" {
			return nil, exit.Usagef("--peer %s: expected name=host:port", t)
		}
		if _, twice := peers[name]; twice {
			return nil, fmt.Errorf("--peer %s stands twice", name)
		}
		peers[name] = addr
	}
	return peers, nil
}
