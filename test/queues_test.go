package test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/hibiken/asynq"

	"slotproxy/internal/testcluster"
	"slotproxy/test/storm"
)

// jobs is how many each queue library does.
const jobs = 1000

// queueLibraries are run as their documentation says, with all keys of a queue under one hash tag. The last jobs are added after
// during has returned.
var queueLibraries = []struct {
	name string
	run  func(t *testing.T, addr string, pace time.Duration, during func())
}{
	{"asynq", runAsynq},
	{"BullMQ RESP2", func(t *testing.T, addr string, pace time.Duration, during func()) {
		runBullMQ(t, addr, "2", pace, during)
	}},
	{"BullMQ RESP3", func(t *testing.T, addr string, pace time.Duration, during func()) {
		runBullMQ(t, addr, "3", pace, during)
	}},
}

func TestQueueLibrariesDoEveryJobOnceWithABareServer(t *testing.T) {
	server := sharedServer(t, testcluster.NeedNewest(t))
	want(t, dialAddr(t, server.Addr), "+OK", "FLUSHALL")
	for _, q := range queueLibraries {
		t.Run(q.name, func(t *testing.T) { q.run(t, server.Addr, 0, func() {}) })
	}
}

func TestQueueLibrariesDoEveryJobOnceWhileSlotsMove(t *testing.T) {
	cluster := sharedCluster(t, testcluster.NeedNewest(t))
	p := startProxy(t, cluster.Addrs()[:1])
	want(t, p.dial(t), "+OK", "FLUSHALL")
	for _, q := range queueLibraries {
		t.Run(q.name, func(t *testing.T) {
			moves := newMover(t, cluster, movedSlots, time.Second, func() {})
			q.run(t, p.addr, 5*time.Millisecond, func() { moves.start(); <-moves.done })
			t.Logf("%d slots moved in %d reshards", moves.wait(t), moves.count)
		})
	}
}

// tagOf is a name that lies in a slot which a mover leaves half moved for a while.
func tagOf(name string, slot uint16) string {
	for i := 0; ; i++ {
		if s := name + strconv.Itoa(i); storm.Slot(s) == slot {
			return s
		}
	}
}

// asynqLog collects what asynq has to say; what it tells while it starts and stops is no complaint.
type asynqLog struct {
	mu    sync.Mutex
	lines []string
}

func (*asynqLog) Debug(...any)       {}
func (*asynqLog) Info(...any)        {}
func (l *asynqLog) Warn(args ...any) { l.Error(args...) }
func (l *asynqLog) Error(args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, fmt.Sprint(args...))
}
func (l *asynqLog) Fatal(args ...any) { l.Error(args...) }

// asynqJobs counts how often each job was done.
type asynqJobs struct {
	mu      sync.Mutex
	done    map[string]int
	tries   int
	stopped int
}

var errAsItShould = errors.New("as it should")

func (j *asynqJobs) work(ctx context.Context, task *asynq.Task) error {
	retries, _ := asynq.GetRetryCount(ctx)
	if task.Type() == "until cancelled" {
		if retries == 0 {
			<-ctx.Done()
		}
		j.mu.Lock()
		defer j.mu.Unlock()
		j.stopped++
		return nil
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.tries++
	if task.Type() == "fails once" && retries == 0 {
		return errAsItShould
	}
	j.done[string(task.Payload())]++
	return nil
}

func runAsynq(t *testing.T, addr string, pace time.Duration, during func()) {
	log, work := &asynqLog{}, &asynqJobs{done: map[string]int{}}
	opt := asynq.RedisClientOpt{Addr: addr}
	first, second := tagOf("critical", 0), tagOf("default", movedSlots/8)
	server := asynq.NewServer(opt, asynq.Config{
		Concurrency: 20, Queues: map[string]int{first: 6, second: 3}, Logger: log, LogLevel: asynq.WarnLevel,
		TaskCheckInterval: 50 * time.Millisecond, DelayedTaskCheckInterval: 200 * time.Millisecond,
		RetryDelayFunc:  func(int, error, *asynq.Task) time.Duration { return 100 * time.Millisecond },
		ShutdownTimeout: 5 * time.Second,
	})
	if err := server.Start(asynq.HandlerFunc(work.work)); err != nil {
		t.Fatal(err)
	}
	client, inspector := asynq.NewClient(opt), asynq.NewInspector(opt)
	var moved sync.WaitGroup
	moved.Go(during)
	enqueueJobs(t, client, []string{first, second}, pace, moved.Wait)
	eventually(t, 20*time.Second, func() error {
		work.mu.Lock()
		defer work.mu.Unlock()
		if len(work.done) < jobs {
			return fmt.Errorf("%d jobs done", len(work.done))
		}
		return nil
	})
	checkQueues(t, inspector, first, second)
	cancelJob(t, client, inspector, work, first)
	server.Shutdown()
	for id, times := range work.done {
		if times != 1 {
			t.Errorf("job %s was done %d times", id, times)
		}
	}
	if want := jobs + jobs/20; work.tries != want {
		t.Errorf("%d tries, want %d", work.tries, want)
	}
	if err := errors.Join(client.Close(), inspector.Close()); err != nil {
		t.Error(err)
	}
	if len(log.lines) > 0 {
		t.Errorf("asynq logged %q", log.lines)
	}
}

// enqueueJobs adds jobs of several kinds to the queues in turn, the last ones after wait.
func enqueueJobs(t *testing.T, client *asynq.Client, queues []string, pace time.Duration, wait func()) {
	t.Helper()
	for i := range jobs {
		if i == jobs-100 {
			wait()
		}
		id := strconv.Itoa(i)
		options := []asynq.Option{asynq.Queue(queues[i%2]), asynq.TaskID("job" + id), asynq.Retention(time.Minute)}
		kind := "plain"
		switch i % 20 {
		case 0:
			kind = "fails once"
		case 1:
			options = append(options, asynq.ProcessIn(300*time.Millisecond))
		case 2:
			options = append(options, asynq.Unique(time.Minute))
		}
		if _, err := client.Enqueue(asynq.NewTask(kind, []byte(id)), options...); err != nil {
			t.Errorf("job %d: %v", i, err)
		}
		time.Sleep(pace)
	}
	if _, err := client.Enqueue(asynq.NewTask("plain", nil), asynq.Queue(queues[0]), asynq.TaskID("job0")); !errors.Is(err, asynq.ErrTaskIDConflict) {
		t.Errorf("a job with the id of another: %v", err)
	}
}

// cancelJob stops a job that runs, which goes by PUBLISH.
func cancelJob(t *testing.T, client *asynq.Client, inspector *asynq.Inspector, work *asynqJobs, queue string) {
	t.Helper()
	info, err := client.Enqueue(asynq.NewTask("until cancelled", nil), asynq.Queue(queue))
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, 10*time.Second, func() error {
		if err := inspector.CancelProcessing(info.ID); err != nil {
			return err
		}
		work.mu.Lock()
		defer work.mu.Unlock()
		if work.stopped == 0 {
			return errors.New("the job was not cancelled")
		}
		return nil
	})
}

func checkQueues(t *testing.T, inspector *asynq.Inspector, queues ...string) {
	t.Helper()
	eventually(t, 10*time.Second, func() error { // a job is done before it is marked so
		completed := 0
		for _, q := range queues {
			info, err := inspector.GetQueueInfo(q)
			if err != nil {
				return err
			}
			if info.Pending+info.Active+info.Scheduled+info.Retry+info.Archived > 0 || info.FailedTotal+info.ProcessedTotal == 0 {
				return fmt.Errorf("queue %s: %+v", q, info)
			}
			completed += info.Completed
		}
		if completed != jobs {
			return fmt.Errorf("%d jobs are completed, want %d", completed, jobs)
		}
		return nil
	})
	names, err := inspector.Queues()
	if err != nil || len(names) != len(queues) {
		t.Errorf("queues: %q %v", names, err)
	}
	servers, err := inspector.Servers()
	if err != nil || len(servers) != 1 {
		t.Errorf("servers: %v %v", servers, err)
	}
}

func runBullMQ(t *testing.T, addr, protocol string, pace time.Duration, during func()) {
	folder, _ := nodeModules(t)
	prefix := "{" + tagOf("bull"+protocol, 0) + "}"
	runScript(t, endpoint{addr: addr, restart: during}, folder, "bullmq.mjs", "bullmq", protocol, prefix, strconv.Itoa(int(pace.Milliseconds())))
}
