package testcluster

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
)

// Slots is the number of slots of every cluster.
const Slots = 16384

// form makes one cluster out of the started nodes:
//
//	epochs and slots  ->  everyone meets everyone  ->  replicas  ->  all agree
//
// Every node gets an epoch of its own before it knows the others, so that the servers need not settle collisions. All
// pairs meet, instead of one node and the rest, because gossip alone needs seconds to spread the news.
func (c *Cluster) form(ctx context.Context) error {
	if err := c.assign(); err != nil {
		return err
	}
	for i, n := range c.Nodes {
		for _, other := range c.Nodes[i+1:] {
			if _, err := n.Do("CLUSTER", "MEET", other.Host, strconv.Itoa(other.Port)); err != nil {
				return err
			}
		}
	}
	if err := c.replicate(ctx); err != nil {
		return err
	}
	return c.WaitOK(ctx)
}

// assign gives ids, epochs and roles to all nodes, and the slots to the primaries in equal ranges.
func (c *Cluster) assign() error {
	o := &c.options
	for i, n := range c.Nodes {
		id, err := n.Do("CLUSTER", "MYID")
		if err != nil {
			return err
		}
		n.ID, _ = id.(string)
		n.Primary = i < o.Primaries+o.Empty
		if _, err := n.Do("CLUSTER", "SET-CONFIG-EPOCH", strconv.Itoa(i+1)); err != nil {
			return err
		}
		if i >= o.Primaries {
			continue
		}
		first, last := i*Slots/o.Primaries, (i+1)*Slots/o.Primaries-1
		if _, err := n.Do("CLUSTER", "ADDSLOTSRANGE", strconv.Itoa(first), strconv.Itoa(last)); err != nil {
			return err
		}
	}
	for i, n := range c.Nodes[o.Primaries+o.Empty:] {
		n.PrimaryID = c.Nodes[i%o.Primaries].ID
	}
	return nil
}

// replicate attaches the replicas, each as soon as it knows its primary, and waits until they have copied it.
func (c *Cluster) replicate(ctx context.Context) error {
	replicas := c.Nodes[c.options.Primaries+c.options.Empty:]
	errs := make([]error, len(replicas))
	var attaching sync.WaitGroup
	for i, n := range replicas {
		attaching.Go(func() { errs[i] = n.attach(ctx) })
	}
	attaching.Wait()
	return errors.Join(errs...)
}

func (n *Node) attach(ctx context.Context) error {
	err := poll(ctx, func() error {
		_, err := n.Do("CLUSTER", "REPLICATE", n.PrimaryID)
		return err
	})
	if err != nil {
		return fmt.Errorf("make %s a replica: %w", n.Addr, err)
	}
	err = poll(ctx, func() error {
		reply, err := n.Do("INFO", "replication")
		if err != nil {
			return err
		}
		info, _ := reply.(string)
		if link := infoField(info, "master_link_status"); link != "up" {
			return fmt.Errorf("the link to its primary is %q", link)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("wait for replica %s: %w", n.Addr, err)
	}
	return nil
}
