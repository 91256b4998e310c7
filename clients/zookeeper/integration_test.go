package zookeeper_test

import (
	"context"
	"testing"

	"github.com/faultline-dev/faultline/clients"
	"github.com/faultline-dev/faultline/clients/clienttest"
	"github.com/faultline-dev/faultline/clients/zookeeper"
)

func kit() clienttest.Kit {
	return clienttest.Kit{
		System: zookeeper.System(),
		// The kit's last reads are made at another server than the writes.
		Options: map[string]string{"reads": "sync"},
		Write: func(ctx context.Context, c clients.Client, key string, v int64) error {
			_, err := c.(*zookeeper.Client).Write(ctx, key, v)
			return err
		},
		Read: func(ctx context.Context, c clients.Client, key string) (any, error) {
			r, err := c.(*zookeeper.Client).Read(ctx, key)
			return r.Value, err
		},
	}
}

func TestOpen(t *testing.T) { clienttest.Open(t, kit()) }

func TestIntegrationConformance(t *testing.T) { clienttest.Run(t, kit()) }
