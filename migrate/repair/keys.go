package repair

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"

	"slotproxy/migrate/engine"
)

// keyBatch is how many keys of a slot are taken at a time.
const keyBatch = 100

// migrateTimeout bounds one MIGRATE of one key: well below the shortest sensible cluster-node-timeout.
const migrateTimeout = 1000

// clearing empties a slot on a node that should not have it: its keys go to another one, unless that has them, or are dropped.
type clearing struct {
	d              *Doctor
	a              action
	s, serving     engine.Session // serving is of action.serving, nil for none
	moved, dropped int
}

func (d *Doctor) clear(ctx context.Context, a action) error {
	c := &clearing{d: d, a: a}
	var err error
	if c.s, err = d.Nodes.Session(ctx, a.at.addr); err != nil {
		return err
	}
	defer c.s.Close()
	if a.serving != nil {
		if c.serving, err = d.Nodes.Session(ctx, a.serving.addr); err != nil {
			return err
		}
		defer c.serving.Close()
	}
	info, err := d.text(ctx, a.at.addr, "INFO", "keyspace")
	if err != nil {
		return err
	}
	for _, db := range engine.ReadInfo(info).Databases() {
		if err := c.database(ctx, db); err != nil {
			return fmt.Errorf("after %d keys moved and %d dropped: %w", c.moved, c.dropped, err)
		}
	}
	return nil
}

func (c *clearing) database(ctx context.Context, db int) error {
	for {
		keys, err := keysOf(ctx, c.s, db, number(c.a.slot))
		if err != nil || len(keys) == 0 {
			return err
		}
		for _, key := range keys {
			if err := c.key(ctx, db, key); err != nil {
				return err
			}
		}
	}
}

func (c *clearing) key(ctx context.Context, db int, key string) error {
	superfluous := c.a.merge == nil
	if c.serving != nil {
		var err error
		if superfluous, err = has(ctx, c.serving, db, key); err != nil {
			return err
		}
	}
	if !superfluous {
		gone, err := c.d.give(ctx, c.s, c.a.merge, db, key)
		if err != nil {
			return err
		}
		if gone {
			c.moved++
			return nil
		}
	}
	c.dropped++
	return c.d.drop(ctx, c.s, c.a, db, key)
}

// keysNow counts the keys of a slot on a node, in all its databases.
func (d *Doctor) keysNow(ctx context.Context, addr string, slot uint16) (sum int64, err error) {
	info, err := d.text(ctx, addr, "INFO", "keyspace")
	if err != nil {
		return 0, err
	}
	s, err := d.Nodes.Session(ctx, addr)
	if err != nil {
		return 0, err
	}
	defer s.Close()
	for _, db := range engine.ReadInfo(info).Databases() {
		replies, err := s.Do(ctx, []string{"SELECT", strconv.Itoa(db)}, []string{"CLUSTER", "COUNTKEYSINSLOT", number(slot)})
		if err != nil {
			return 0, err
		}
		if failed, ok := replies[1].(engine.ServerError); ok {
			return 0, failed
		}
		n, _ := replies[1].(int64)
		sum += n
	}
	return sum, nil
}

func keysOf(ctx context.Context, s engine.Session, db int, slot string) ([]string, error) {
	replies, err := s.Do(ctx, []string{"SELECT", strconv.Itoa(db)}, []string{"CLUSTER", "GETKEYSINSLOT", slot, strconv.Itoa(keyBatch)})
	if err != nil {
		return nil, err
	}
	if failed, ok := replies[1].(engine.ServerError); ok {
		return nil, failed
	}
	list, _ := replies[1].([]any)
	keys := make([]string, 0, len(list))
	for _, k := range list {
		key, _ := k.(string)
		keys = append(keys, key)
	}
	return keys, nil
}

// has says that a node has a key. One that moves the slot away answers ASK for what it has not.
func has(ctx context.Context, s engine.Session, db int, key string) (bool, error) {
	replies, err := s.Do(ctx, []string{"SELECT", strconv.Itoa(db)}, []string{"EXISTS", key})
	if err != nil {
		return false, err
	}
	failed, is := replies[1].(engine.ServerError)
	switch {
	case is && strings.HasPrefix(string(failed), "ASK "):
		return false, nil
	case is:
		return false, failed
	}
	return replies[1] == int64(1), nil
}

// give moves one key to the owner. It reports false when the owner has one of that name.
func (d *Doctor) give(ctx context.Context, s engine.Session, to *node, db int, key string) (gone bool, err error) {
	host, port, err := net.SplitHostPort(to.self.Addr)
	if err != nil {
		return false, err
	}
	command := []string{"MIGRATE", host, port, key, strconv.Itoa(db), strconv.Itoa(migrateTimeout)}
	if user, password := d.Nodes.Login(); password != "" && user != "" {
		command = append(command, "AUTH2", user, password)
	} else if password != "" {
		command = append(command, "AUTH", password)
	}
	replies, err := s.Do(ctx, []string{"ASKING"}, command)
	if err != nil {
		return false, err
	}
	failed, is := replies[1].(engine.ServerError)
	switch {
	case !is:
		return true, nil // NOKEY is not an error: it has expired
	case strings.Contains(string(failed), "BUSYKEY"):
		return false, nil
	}
	return false, failed
}

// drop deletes a key that does not count, after it has been kept aside.
func (d *Doctor) drop(ctx context.Context, s engine.Session, a action, db int, key string) error {
	if d.Keep == nil {
		return fmt.Errorf("ERR %s has a key that is to be dropped, and there is no place to keep it", a.at.addr)
	}
	replies, err := s.Do(ctx, []string{"ASKING"}, []string{"DUMP", key})
	if err != nil {
		return err
	}
	if payload, ok := replies[1].(string); ok {
		if err := d.Keep(a.at.addr, db, key, payload); err != nil {
			return err
		}
	}
	if replies, err = s.Do(ctx, []string{"ASKING"}, []string{"UNLINK", key}); err != nil {
		return err
	}
	if failed, ok := replies[1].(engine.ServerError); ok {
		return failed
	}
	return nil
}
