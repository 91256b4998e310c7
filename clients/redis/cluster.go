package redis

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/faultline-dev/faultline/cluster"
	"github.com/faultline-dev/faultline/options"
)

// slots is how many a Redis cluster has.
const slots = 16384

// addresser knows the nodes' addresses, which CLUSTER MEET wants instead of names.
type addresser interface {
	Addr(node string) (string, error)
}

// initialize joins the nodes of a cluster: the first half are primaries, the others
// replicate them in turn. Other modes need nothing.
func initialize(ctx context.Context, c cluster.Cluster, o options.Values) error {
	if o.String("mode") != clustered {
		return nil
	}
	world, ok := c.(addresser)
	if !ok {
		return cluster.Missing(c, "say its nodes' addresses")
	}
	j := &joining{world: world}
	defer j.close()
	for _, n := range c.Nodes() {
		conn, err := patient(ctx, n)
		if err != nil {
			return err
		}
		j.nodes, j.conns = append(j.nodes, n), append(j.conns, conn)
	}
	j.primaries = len(j.nodes) / 2
	for _, step := range []func(context.Context) error{j.meet, j.deal, j.replicate} {
		if err := step(ctx); err != nil {
			return fmt.Errorf("redis: joining the cluster: %w", err)
		}
	}
	return nil
}

// pause is between two looks.
const pause = 50 * time.Millisecond

// patient connects to a node that may still be starting.
func patient(ctx context.Context, n cluster.Node) (*conn, error) {
	for {
		c, err := dial(ctx, n, redisPort, time.Second)
		if err == nil {
			return c, nil
		}
		if sleep(ctx, pause) != nil {
			return nil, err
		}
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// joining is a cluster being made.
type joining struct {
	world     addresser
	nodes     []cluster.Node
	conns     []*conn
	primaries int
}

func (j *joining) close() {
	for _, c := range j.conns {
		c.close()
	}
}

// meet gives every node an epoch of its own, which is possible only before it knows
// others, and then introduces them.
func (j *joining) meet(ctx context.Context) error {
	for i, c := range j.conns {
		if err := c.rdb.Do(ctx, "CLUSTER", "SET-CONFIG-EPOCH", i+1).Err(); err != nil {
			return err
		}
	}
	for _, n := range j.nodes[1:] {
		addr, err := j.world.Addr(n.Name)
		if err != nil {
			return err
		}
		if err := j.conns[0].rdb.ClusterMeet(ctx, addr, "6379").Err(); err != nil {
			return err
		}
	}
	return nil
}

// deal deals the slots out to the primaries.
func (j *joining) deal(ctx context.Context) error {
	for i := range j.primaries {
		first, last := i*slots/j.primaries, (i+1)*slots/j.primaries-1
		if err := j.conns[i].rdb.ClusterAddSlotsRange(ctx, first, last).Err(); err != nil {
			return err
		}
	}
	return nil
}

// replicate gives every primary its replicas, once all know each other.
func (j *joining) replicate(ctx context.Context) error {
	for i, c := range j.conns {
		if err := c.knows(ctx, len(j.conns)); err != nil {
			return err
		}
		if i < j.primaries {
			continue
		}
		id, err := j.conns[i%j.primaries].rdb.ClusterMyID(ctx).Result()
		if err != nil {
			return err
		}
		for { // it may not have heard of its primary's role yet
			if err = c.rdb.ClusterReplicate(ctx, id).Err(); err == nil {
				break
			}
			if sleep(ctx, pause) != nil {
				return err
			}
		}
	}
	return nil
}

// knows waits until the node knows n nodes.
func (c *conn) knows(ctx context.Context, n int) error {
	for {
		info, err := c.rdb.ClusterInfo(ctx).Result()
		if err == nil && strings.Contains(info, fmt.Sprintf("cluster_known_nodes:%d\r", n)) {
			return nil
		}
		if e := sleep(ctx, pause); e != nil {
			return errors.Join(e, err)
		}
	}
}

// slotOf is CRC16 (XMODEM) of the key, or of what stands in its first braces.
func slotOf(key string) int {
	if i := strings.IndexByte(key, '{'); i >= 0 {
		if n := strings.IndexByte(key[i+1:], '}'); n > 0 {
			key = key[i+1 : i+1+n]
		}
	}
	var crc uint16
	for _, b := range []byte(key) {
		crc ^= uint16(b) << 8
		for range 8 {
			if crc&0x8000 != 0 {
				crc = crc<<1 ^ 0x1021
			} else {
				crc <<= 1
			}
		}
	}
	return int(crc) % slots
}
