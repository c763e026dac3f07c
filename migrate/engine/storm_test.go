package engine_test

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// stopGate is a gate that a storm respects.
type stopGate struct {
	mu    sync.RWMutex
	held  atomic.Bool
	holds atomic.Int64
	timer *time.Timer // opens the gate after its limit; used by the holder only
}

func (g *stopGate) Hold(_ context.Context, _ []uint16, limit time.Duration) error {
	g.holds.Add(1)
	g.mu.Lock() // nobody is in the middle of a write any more
	g.held.Store(true)
	g.mu.Unlock()
	g.timer = time.AfterFunc(limit, g.open)
	return nil
}

func (g *stopGate) open() { g.held.Store(false) }

// Extend lets a hold last for twenty seconds at most.
func (g *stopGate) Extend(_ []uint16, limit time.Duration) (time.Duration, error) {
	limit = min(limit, 20*time.Second)
	if !g.held.Load() || !g.timer.Reset(limit) {
		return 0, errors.New("not held any more")
	}
	return limit, nil
}

func (g *stopGate) Waiting([]uint16) bool { return false }

func (g *stopGate) Release([]uint16, string) {
	if g.timer != nil {
		g.timer.Stop()
	}
	g.open()
}

// storm are clients of the source that write into slots, a pipeline at a time, until the slots are elsewhere.
type storm struct {
	r       *rig
	g       *stopGate
	slots   []uint16
	written atomic.Int64
	stop    atomic.Bool
	wg      sync.WaitGroup
}

func (w *storm) start(clients int) {
	for range clients {
		w.wg.Go(w.client)
	}
}

func (w *storm) end() {
	w.stop.Store(true)
	w.wg.Wait()
}

func (w *storm) client() {
	l, err := w.r.src.Session(context.Background(), w.r.cl.Nodes[0].Addr)
	if err != nil {
		w.r.Error(err)
		return
	}
	defer l.Close()
	for i := 0; !w.stop.Load(); i++ {
		var commands [][]string
		for k := range 50 {
			key := "{" + tags()[w.slots[(i+k)%len(w.slots)]] + "}w" + strconv.Itoa((i+k)%500)
			commands = append(commands, []string{"SET", key, "0123456789012345678901234567890123456789" + strconv.Itoa(i)})
		}
		w.g.mu.RLock()
		held := w.g.held.Load()
		if !held {
			_, err = l.Do(context.Background(), commands...)
		}
		w.g.mu.RUnlock()
		if held {
			time.Sleep(time.Millisecond)
			continue
		}
		if err != nil {
			w.r.Error(err)
			return
		}
		w.written.Add(int64(len(commands)))
	}
}
