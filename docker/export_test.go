package docker

import (
	"context"

	"github.com/faultline-dev/faultline/docker/agent"
)

// AskAgent lets tests speak with a node's agent.
func (c *Cluster) AskAgent(ctx context.Context, node string, q agent.Request) (agent.Response, error) {
	p, err := c.pod(node)
	if err != nil {
		return agent.Response{}, err
	}
	return p.wire.ask(ctx, q)
}
