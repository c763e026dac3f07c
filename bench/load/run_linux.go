package load

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Run is a load under way.
type Run struct {
	// Immutable once Start has returned.
	cfg     Config
	kinds   []kind
	payload []byte
	hello   []byte
	base    time.Time // of now
	origin  int64     // when the first operation of an open load was due
	threads []*thread
	ctx     context.Context // of Start and the scout: Stop ends it
	cancel  context.CancelFunc

	table   atomic.Pointer[table]
	stopAt  atomic.Int64           // 0: not yet
	endedAt atomic.Int64           // when the last thread ended
	marks   atomic.Pointer[[]mark] // phases that were entered
	count   atomic.Int64           // operations that have ended
	errors  atomic.Int64           // those of them that failed
	asked   chan struct{}          // from threads to the scout
	ready   chan error             // from threads to Start, one each
	gate    chan struct{}          // closed by Start when all threads may begin, or none
	goOn    bool                   // read after gate
	over    chan struct{}          // closed when all threads have ended
	alive   atomic.Int32           // threads
	work    sync.WaitGroup         // threads and scout
	names   sync.Map               // host name -> net.IP
	last    atomic.Pointer[string] // the last trouble of a link
}

// mark is where a phase begins.
type mark struct {
	name string
	at   int64
	cpu  []time.Duration
}

// maxPhases bounds the memory for histograms.
const maxPhases = 16

// Start connects all clients and begins to send.
func Start(ctx context.Context, cfg Config) (*Run, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	cfg.Processes = append(slices.Clone(cfg.Processes), Process{Name: "bench", Role: Generator, PID: os.Getpid()})
	r := &Run{cfg: cfg, base: time.Now(), asked: make(chan struct{}, 1), gate: make(chan struct{}), over: make(chan struct{}),
		ready: make(chan error, cfg.Threads), hello: cfg.Target.greeting()}
	if len(r.hello) == 0 {
		r.hello = []byte("*1\r\n$4\r\nPING\r\n")
	}
	r.marks.Store(&[]mark{{name: "warm-up"}})
	for _, o := range cfg.Ops {
		k, err := newKind(o)
		if err != nil {
			return nil, err
		}
		r.kinds = append(r.kinds, k)
	}
	r.payload = randomText(cfg.Sizes)
	if err := r.firstTable(ctx); err != nil {
		return nil, err
	}
	if err := r.checkDescriptors(); err != nil {
		return nil, err
	}
	r.ctx, r.cancel = context.WithCancel(ctx)
	if err := r.launch(); err != nil {
		r.close()
		return nil, err
	}
	return r, nil
}

func (r *Run) firstTable(ctx context.Context) error {
	if !r.cfg.Target.cluster() {
		r.table.Store(oneServer(r.cfg.Target.Addr))
		return nil
	}
	tab, err := lookUp(ctx, &r.cfg.Target, r.cfg.Target.Seeds)
	if err != nil {
		return err
	}
	r.table.Store(tab)
	return nil
}

// spareDescriptors are those that are no connections of clients.
const spareDescriptors = 50

// checkDescriptors says before thousands of connections are opened that there cannot be as many. The Go runtime has raised the soft limit
// to the hard one before main began.
func (r *Run) checkDescriptors() error {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return nil
	}
	each := len(r.table.Load().addrs)
	if r.cfg.Bound {
		each = 1
	}
	if need := uint64(r.cfg.Clients*each + spareDescriptors); need > limit.Cur {
		return fmt.Errorf("%d clients with %d connections each need %d file descriptors, the limit is %d (ulimit -n)", r.cfg.Clients, each, need, limit.Cur)
	}
	return nil
}

// randomText is what values are cut from; what compresses them finds nothing.
func randomText(list []Size) []byte {
	longest := 0
	for _, s := range list {
		longest = max(longest, s.Max)
	}
	const letters = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-_"
	dice := rand.New(rand.NewPCG(3, 3))
	text := make([]byte, longest)
	for i := range text {
		text[i] = letters[dice.IntN(len(letters))]
	}
	return text
}

// launch starts the threads and returns when all of them are connected.
func (r *Run) launch() error {
	for i := range r.cfg.Threads {
		t, err := newThread(r, i)
		if err != nil {
			return err
		}
		r.threads = append(r.threads, t)
	}
	r.alive.Store(int32(len(r.threads)))
	for _, t := range r.threads {
		r.work.Add(1)
		go t.serve()
	}
	var errs []error
	for range r.threads {
		errs = append(errs, <-r.ready)
	}
	err := errors.Join(errs...)
	r.origin, r.goOn = r.now(), err == nil
	if r.cfg.Begin != "" {
		r.mark(r.cfg.Begin, r.origin)
	}
	close(r.gate)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	if r.cfg.Target.cluster() {
		r.work.Add(1)
		go r.scout()
	}
	return nil
}

// opened reports a thread's connections and waits for the others.
func (r *Run) opened(err error) (goOn bool) {
	r.ready <- err
	<-r.gate
	return r.goOn
}

// ended is a thread's last word.
func (r *Run) ended(t *thread) {
	t.close()
	if r.alive.Add(-1) == 0 {
		r.endedAt.Store(r.now())
		close(r.over)
	}
	r.work.Done()
}

// now is in ns since the run began.
func (r *Run) now() int64 { return int64(time.Since(r.base)) }

// Enter begins a phase.
func (r *Run) Enter(name string) error {
	if len(*r.marks.Load()) > maxPhases {
		return fmt.Errorf("at most %d phases", maxPhases)
	}
	r.mark(name, r.now())
	return nil
}

func (r *Run) mark(name string, at int64) {
	list := append(slices.Clone(*r.marks.Load()), mark{name: name, at: at, cpu: cpuTimes(r.cfg.Processes)})
	r.marks.Store(&list)
}

// phaseAt is the index of the phase of an instant. The newest is the most likely.
func (r *Run) phaseAt(at int64) int {
	marks := *r.marks.Load()
	i := len(marks) - 1
	for i > 0 && at < marks[i].at {
		i--
	}
	return i
}

// Progress is what has happened so far, warm-up included.
func (r *Run) Progress() (operations, failed int64) { return r.count.Load(), r.errors.Load() }

// Trouble is the last reason why a connection was lost, "" for none.
func (r *Run) Trouble() string {
	if text := r.last.Load(); text != nil {
		return *text
	}
	return ""
}

// Done is closed when a load of Config.Count operations has ended.
func (r *Run) Done() <-chan struct{} { return r.over }

// Stop ends the sending, waits for replies, and tells what was seen. After it the Run is of no use.
func (r *Run) Stop() *Result {
	end := r.now()
	if at := r.endedAt.Load(); at != 0 {
		end = at
	}
	r.mark("", end)
	r.stopAt.Store(end)
	<-r.over
	r.close()
	marks := *r.marks.Load()
	res := &Result{Target: r.cfg.Target.Name}
	for i := 1; i < len(marks)-1; i++ {
		res.Phases = append(res.Phases, r.phase(i, &marks[i], &marks[i+1]))
	}
	return res
}

func (r *Run) phase(at int, from, to *mark) Phase {
	p := Phase{Name: from.name, Begin: r.base.Add(time.Duration(from.at)), Length: time.Duration(to.at - from.at), Errors: map[string]int64{},
		Lag: newHistogram()}
	for i := range r.kinds {
		p.Ops = append(p.Ops, OpResult{Name: r.kinds[i].name, Latency: newHistogram()})
	}
	for _, t := range r.threads {
		if at < len(t.recorders) && t.recorders[at] != nil {
			p.add(t.recorders[at])
		}
	}
	for i, proc := range r.cfg.Processes {
		used := time.Duration(-1)
		if from.cpu[i] >= 0 && to.cpu[i] >= 0 {
			used = to.cpu[i] - from.cpu[i]
		}
		p.CPU = append(p.CPU, ProcessTime{proc, used})
	}
	return p
}

func (r *Run) close() {
	r.cancel()
	r.work.Wait()
}

// ask has the slots looked up, soon.
func (r *Run) ask() {
	select {
	case r.asked <- struct{}{}:
	default:
	}
}

// askPause keeps a storm of MOVED from being one of CLUSTER NODES.
const askPause = 100 * time.Millisecond

// scout looks the slots up when a thread asks for it.
func (r *Run) scout() {
	defer r.work.Done()
	pause := time.NewTicker(askPause)
	defer pause.Stop()
	for {
		select {
		case <-r.ctx.Done():
			return
		case <-r.asked:
		}
		nodes := append(slices.Clone(r.table.Load().addrs), r.cfg.Target.Seeds...)
		if tab, err := lookUp(r.ctx, &r.cfg.Target, nodes); err == nil {
			r.table.Store(tab)
		} else if r.ctx.Err() == nil {
			r.cfg.Log.Warn("the slots cannot be looked up", "err", err)
		}
		select {
		case <-r.ctx.Done():
			return
		case <-pause.C:
		}
	}
}

// troubled keeps why a connection was lost.
func (r *Run) troubled(text string) { r.last.Store(&text) }

// resolve looks a host up once.
func (r *Run) resolve(host string) (net.IP, error) {
	if ip := net.ParseIP(host); ip != nil {
		return ip, nil
	}
	if ip, known := r.names.Load(host); known {
		return ip.(net.IP), nil
	}
	list, err := net.DefaultResolver.LookupIP(r.ctx, "ip", host)
	if err != nil {
		return nil, err
	}
	r.names.Store(host, list[0])
	return list[0], nil
}
