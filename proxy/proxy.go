package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/panjf2000/ants/v2"

	"slotproxy/internal/metrics"
	"slotproxy/resp"
	"slotproxy/router"
)

// Config is everything a Proxy needs; the caller does not change it afterwards.
type Config struct {
	Loops     int // event loops; 0 means one for each two processors, at least one
	Lanes     int // connections to a node for each loop and profile; 0 means 1
	Listeners []Listener
	Node      NodeDial
	Limits    Limits
	// DrainSpread is the time over which Drain closes idle clients; 0 closes them at once.
	DrainSpread time.Duration

	Keeper   *router.Keeper
	Commands func() *router.Commands // the command table to start with, and after Reload
	// AuthRequired says whether the cluster's default user needs a password; it is asked for each new client.
	AuthRequired func() bool
	// Info is what the cluster's servers say of themselves.
	Info func() ServerFace
	// EmulateCrossSlot carries out commands whose keys lie in several slots in steps, which are not atomic; without it they
	// get CROSSSLOT. See emulate.go.
	EmulateCrossSlot bool
	// AllowRedirect permits redirects to addresses outside the table; nil permits none.
	AllowRedirect func(addr string) bool
	// DebugSleep lets clients stop a node for a while with DEBUG SLEEP.
	DebugSleep bool
	// Console answers PROXY; nil refuses it.
	Console Console
	Log     *slog.Logger
}

// NodeDial says how nodes are reached.
type NodeDial struct {
	TLS            *tls.Config // nil: plain. ServerName is taken from the address when empty
	ConnectTimeout time.Duration
}

// ServerFace is what clients are told about the server that the proxy looks like.
type ServerFace struct {
	Name, Version string
	Guess         bool // no server has been asked yet
}

// Limits bounds everything that a client or a node can make the proxy hold or wait for. Zero fields get defaults.
type Limits struct {
	MaxClients int
	InFlight   int // commands of one client without a reply, before it is no longer read

	OutLow        int // bytes of unread output at which a client is no longer read
	OutHard       int // bytes of unread output above which a client is cut off; one reply may be larger
	OutBeforeAuth int // the same for a client that has not authenticated
	NodeQueue     int // bytes queued for a node at which its clients are no longer read
	EmulateBytes  int // bytes that one command with keys in several slots may send or fetch
	BufferBudget  int // bytes of all buffers; above, the client that holds most is cut off

	Idle            time.Duration // 0: clients may be idle for ever
	FirstCommand    time.Duration // for a first command that has begun
	FrameStall      time.Duration // without a byte, in the middle of a command
	WriteStall      time.Duration // without a byte taken, above OutLow
	RedirectBudget  time.Duration // for the redirects and retries of one command
	UpstreamTimeout time.Duration // for a node's reply

	AuthFailures int // then the client is cut off
	MaxRedirects int // MOVED and ASK that one command follows
	Leases       int // connections to one node for blocking commands and WATCH

	BeforeAuth, AfterAuth resp.Limits
}

// DefaultLimits are the values that zero fields get; the reasons are in configs/slotproxy.yaml.
func DefaultLimits() Limits {
	return Limits{
		MaxClients: 10000, InFlight: 1024,
		OutLow: 8 << 20, OutHard: 64 << 20, OutBeforeAuth: 1 << 10, NodeQueue: 4 << 20, BufferBudget: 2 << 30, EmulateBytes: 64 << 20,
		FirstCommand: 10 * time.Second, FrameStall: 30 * time.Second, WriteStall: 30 * time.Second,
		RedirectBudget: 5 * time.Second, UpstreamTimeout: 5 * time.Second,
		AuthFailures: 5, MaxRedirects: 64, Leases: 2000, BeforeAuth: resp.BeforeAuth, AfterAuth: resp.AfterAuth,
	}
}

// Proxy is the data path: listeners, loops, and what they share.
type Proxy struct {
	cfg      Config
	log      *slog.Logger
	loops    []*loop
	alive    []atomic.Int64 // loop time of each loop's last iteration
	commands atomic.Pointer[commandSet]
	scripts  scripts

	holds    holds
	pulses   pulses
	refused  [router.Slots]atomic.Int64 // loop time at which a node last had only some of a command's keys, by slot; see Waiting
	audience audience                   // of what clients are subscribed to
	home     atomic.Pointer[string]     // address of the node that they listen at, see loop.home

	clients    atomic.Int64  // open sessions, for MaxClients
	unfinished atomic.Int64  // what is brought to its end although its client has left, see carryOn and forsake
	monitors   atomic.Int32  // clients with MONITOR, in all loops
	lastClient atomic.Uint64 // the newest session's id

	dialers   *ants.Pool
	asides    chan struct{}   // a place for each command of the console under way
	life      context.Context // ends with Close, and with it the commands of the console
	end       context.CancelFunc
	listeners []*listener
	acceptors sync.WaitGroup
	streams   sync.WaitGroup
	loopsDone sync.WaitGroup
	stop      chan struct{}
	stopOnce  sync.Once
	started   time.Time
}

// maxDials bounds the connection attempts at one time: every loop to every node of a large cluster, after a failure. The few
// commands of the console run beside them.
const maxDials = 256

// New prepares a proxy; Listen binds and Run serves.
func New(cfg Config) (*Proxy, error) {
	cfg = withDefaults(cfg)
	p := &Proxy{cfg: cfg, log: cfg.Log, stop: make(chan struct{}), alive: make([]atomic.Int64, cfg.Loops), started: time.Now()}
	p.asides = make(chan struct{}, maxConsole)
	p.life, p.end = context.WithCancel(context.Background())
	p.commands.Store(newCommandSet(cfg.Commands()))
	var err error
	if p.dialers, err = ants.NewPool(maxDials, ants.WithNonblocking(true)); err != nil {
		return nil, err
	}
	for i := range cfg.Loops {
		l, err := newLoop(p, i)
		if err != nil {
			return nil, err
		}
		p.loops = append(p.loops, l)
	}
	return p, nil
}

func withDefaults(cfg Config) Config {
	d := DefaultLimits()
	lim := &cfg.Limits
	for _, f := range []struct {
		have *int
		def  int
	}{
		{&lim.MaxClients, d.MaxClients}, {&lim.InFlight, d.InFlight}, {&lim.OutLow, d.OutLow}, {&lim.OutHard, d.OutHard},
		{&lim.OutBeforeAuth, d.OutBeforeAuth}, {&lim.NodeQueue, d.NodeQueue}, {&lim.BufferBudget, d.BufferBudget},
		{&lim.AuthFailures, d.AuthFailures}, {&lim.MaxRedirects, d.MaxRedirects}, {&lim.Leases, d.Leases}, {&lim.EmulateBytes, d.EmulateBytes}, {&cfg.Lanes, 1}, {&cfg.Loops, max(1, runtime.GOMAXPROCS(0)/2)},
	} {
		if *f.have == 0 {
			*f.have = f.def
		}
	}
	for _, f := range []struct {
		have *time.Duration
		def  time.Duration
	}{
		{&lim.FirstCommand, d.FirstCommand}, {&lim.FrameStall, d.FrameStall}, {&lim.WriteStall, d.WriteStall},
		{&lim.RedirectBudget, d.RedirectBudget}, {&lim.UpstreamTimeout, d.UpstreamTimeout},
		{&cfg.Node.ConnectTimeout, 2 * time.Second},
	} {
		if *f.have == 0 {
			*f.have = f.def
		}
	}
	if lim.BeforeAuth == (resp.Limits{}) {
		lim.BeforeAuth = d.BeforeAuth
	}
	if lim.AfterAuth == (resp.Limits{}) {
		lim.AfterAuth = d.AfterAuth
	}
	if cfg.AuthRequired == nil {
		cfg.AuthRequired = func() bool { return false }
	}
	if cfg.Info == nil {
		cfg.Info = func() ServerFace { return ServerFace{Name: "valkey", Version: "9.1.0"} }
	}
	if cfg.Commands == nil {
		cfg.Commands = router.Builtin
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return cfg
}

// Listen binds every listener, or none.
func (p *Proxy) Listen() error {
	for _, cfg := range p.cfg.Listeners {
		ln, err := p.listen(cfg)
		if err != nil {
			p.closeListeners()
			return err
		}
		p.listeners = append(p.listeners, ln)
	}
	return nil
}

// Addrs are the bound addresses, in the order of Config.Listeners.
func (p *Proxy) Addrs() []net.Addr {
	var a []net.Addr
	for _, ln := range p.listeners {
		a = append(a, ln.ln.Addr())
	}
	return a
}

// Run serves until ctx ends or Close is called, and returns when every goroutine of the proxy has ended.
func (p *Proxy) Run(ctx context.Context) error {
	for _, l := range p.loops {
		p.loopsDone.Add(1)
		go l.run()
	}
	for _, ln := range p.listeners {
		p.acceptors.Add(1)
		go ln.accept()
	}
	select {
	case <-ctx.Done():
	case <-p.stop:
	}
	p.Close()
	p.acceptors.Wait()
	p.loopsDone.Wait()
	p.streams.Wait()
	// Dials end by their timeout; one that is stuck in name resolution is left behind.
	_ = p.dialers.ReleaseTimeout(p.cfg.Node.ConnectTimeout)
	return nil
}

// Close ends everything at once. Safe to call more than once and from anywhere.
func (p *Proxy) Close() { p.stopOnce.Do(p.shut) }

func (p *Proxy) shut() {
	close(p.stop)
	p.end()
	p.closeListeners()
	for _, l := range p.loops {
		l.post(message{kind: msgCall, call: (*loop).beginClosing})
	}
}

func (l *loop) beginClosing() { l.closing = true }

func (p *Proxy) closeListeners() {
	for _, ln := range p.listeners {
		_ = ln.ln.Close() // closing twice is harmless; a unix socket's file goes with it
	}
}

// SetTable hands a new table to every loop. It does not wait for them.
func (p *Proxy) SetTable(t *router.Table) {
	for _, l := range p.loops {
		l.post(message{kind: msgCall, call: func(l *loop) { l.adoptTable(t) }})
	}
}

// Reload makes the loops use the current command table.
func (p *Proxy) Reload() {
	set := newCommandSet(p.cfg.Commands())
	p.commands.Store(set)
	for _, l := range p.loops {
		l.post(message{kind: msgCall, call: func(l *loop) { l.setCommands(set) }})
	}
}

func (l *loop) setCommands(set *commandSet) {
	l.cmds = set
	for len(l.stats.Commands) < len(set.Rules()) {
		l.stats.Commands = append(l.stats.Commands, metrics.CommandCount{})
	}
}

// ask runs f on every loop and waits for all, or for d. It reports whether all answered.
func (p *Proxy) ask(d time.Duration, f func(*loop)) bool {
	done := make(chan struct{}, len(p.loops))
	asked := 0
	for _, l := range p.loops {
		if l.post(message{kind: msgCall, call: func(l *loop) { f(l); done <- struct{}{} }}) {
			asked++
		}
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	for range asked {
		select {
		case <-done:
		case <-timer.C:
			return false
		}
	}
	return asked == len(p.loops)
}

// Snapshot is the sum of all loops' counters.
func (p *Proxy) Snapshot() *metrics.Counters {
	sum, late := metrics.New(0), false
	var mu sync.Mutex
	p.ask(time.Second, func(l *loop) {
		mu.Lock()
		defer mu.Unlock()
		if late {
			return // the caller has the sum
		}
		l.stats.BufferBytes = int64(l.pool.used)
		l.stats.HeldNow = l.heldNow()
		l.stats.AddTo(sum)
	})
	mu.Lock()
	defer mu.Unlock()
	late = true
	return sum
}

func (l *loop) heldNow() (n int64) {
	for _, s := range l.sessions {
		n += int64(s.unsent)
	}
	return n
}

// Alive says whether every loop has finished an iteration within the given time. Idle loops wake once a second.
func (p *Proxy) Alive(within time.Duration) bool {
	oldest := monotonic() - int64(within)
	for i := range p.alive {
		if p.alive[i].Load() < oldest {
			return false
		}
	}
	return true
}

// Drain stops accepting and closes clients between commands; what clients have left behind is brought to its end. When ctx
// ends first, the rest are closed anyway; cut is the number of those that had commands under way, or have left such behind.
func (p *Proxy) Drain(ctx context.Context) (cut int, err error) {
	p.closeListeners()
	p.ask(time.Second, (*loop).beginDraining)
	for p.clients.Load() > 0 || p.unfinished.Load() > 0 {
		select {
		case <-ctx.Done():
			return p.countBusy(), ctx.Err()
		case <-p.stop:
			return 0, errors.New("closed while draining")
		case <-time.After(20 * time.Millisecond):
			p.ask(time.Second, (*loop).checkSessions)
		}
	}
	return 0, nil
}

func (l *loop) beginDraining() {
	l.draining, l.drainSince = true, l.now
	for _, h := range l.pending {
		h.told <- errGateDraining
	}
	l.pending = nil
	l.openGates(func(*gate) bool { return true }) // nobody can leave who waits
	l.checkSessions()
}

func (p *Proxy) countBusy() int {
	var n atomic.Int64
	p.ask(time.Second, func(l *loop) {
		for _, s := range l.sessions {
			if s.head != nil || !s.out.empty() {
				n.Add(1)
			}
		}
	})
	return int(n.Load() + p.unfinished.Load())
}
