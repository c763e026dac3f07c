package metrics

import "time"

// CommandCount counts the answers to one command by who made them.
type CommandCount struct {
	OK          uint64 // a reply that is not an error
	ServerError uint64 // an error reply of a node, passed on
	ProxyError  uint64 // an error reply of the proxy's own
}

// Counters is what one event loop counts.
//
// Owner: that loop. Nobody else reads or writes it; the loop itself adds it to a sum when asked (AddTo). The zero
// value is ready except for Commands, whose length is the number of command rules (see New).
//
// Gauges are signed: a bookkeeping mistake then shows as a negative number and not as 18 quintillion.
type Counters struct {
	// Sessions.
	SessionsOpen     int64 // gauge
	SessionsAccepted uint64
	SessionsClosed   [numDisconnects]uint64 // by DisconnectReason
	Rejections       [numRejects]uint64     // by RejectReason

	// Commands. Commands is indexed by the router's rule ID; index len-1 and beyond what it holds belongs to nobody.
	Commands       []CommandCount
	CommandSeconds [numClasses]Histogram // by Class; from the command read to its reply queued for the client

	// What the cluster made us do.
	Redirects        [numRedirects]uint64 // by RedirectKind
	RedirectsRefused [numRefused]uint64   // by RefusedReason
	Retries          [numRetries]uint64   // by RetryReason
	Ambiguous        uint64               // written, connection lost, outcome unknown: -PROXYUNKNOWN
	Timeouts         uint64               // -PROXYTIMEOUT
	Desyncs          uint64               // a node's replies did not match its requests; must stay 0
	HeldNow          int64                // gauge: commands waiting for their slot
	HeldTotal        uint64

	// Gates: slots that a move holds back. The first loop counts the gates for all.
	GatesClosed int64 // gauge
	GateHolds   uint64
	GateHeld    uint64    // commands
	GateSeconds Histogram // of commands, from held to sent

	// Node connections.
	UpstreamConnects        uint64
	UpstreamConnectFailures uint64
	UpstreamOpen            int64 // gauge
	InFlight                int64 // gauge: commands written or queued to nodes, not yet answered
	LeasesBusy              int64 // gauge: connections that one client has for itself
	LeaseWaits              uint64

	// Subscriptions.
	Subscribers    int64 // gauge: clients that are subscribed to something
	Subscriptions  int64 // gauge: channels and patterns of all clients
	MessagesIn     uint64
	MessagesOut    uint64
	SubscribersCut uint64 // did not read their messages

	// Bytes and system calls, by Side.
	BytesIn     [NumSides]uint64
	BytesOut    [NumSides]uint64
	Reads       [NumSides]uint64 // read system calls
	Writes      [NumSides]uint64 // write system calls
	BufferBytes int64            // gauge: input and output held in memory
	ReadsPaused uint64           // times a client was not read for back-pressure

	// The loop itself.
	Iterations uint64
	LoopBusy   time.Duration // time spent outside of waiting
}

// New gives Counters for rule IDs 0..rules-1.
func New(rules int) *Counters { return &Counters{Commands: make([]CommandCount, rules)} }

// AddTo adds c to sum. The caller owns both for the time of the call.
func (c *Counters) AddTo(sum *Counters) {
	sum.SessionsOpen += c.SessionsOpen
	sum.SessionsAccepted += c.SessionsAccepted
	addAll(sum.SessionsClosed[:], c.SessionsClosed[:])
	addAll(sum.Rejections[:], c.Rejections[:])

	// Loops learn of a longer command table one after the other, so lengths may differ for a moment.
	if n := len(c.Commands) - len(sum.Commands); n > 0 {
		sum.Commands = append(sum.Commands, make([]CommandCount, n)...)
	}
	for i, n := range c.Commands {
		sum.Commands[i].OK += n.OK
		sum.Commands[i].ServerError += n.ServerError
		sum.Commands[i].ProxyError += n.ProxyError
	}
	for i := range c.CommandSeconds {
		c.CommandSeconds[i].addTo(&sum.CommandSeconds[i])
	}

	addAll(sum.Redirects[:], c.Redirects[:])
	addAll(sum.RedirectsRefused[:], c.RedirectsRefused[:])
	addAll(sum.Retries[:], c.Retries[:])
	sum.Ambiguous += c.Ambiguous
	sum.Timeouts += c.Timeouts
	sum.Desyncs += c.Desyncs
	sum.HeldNow += c.HeldNow
	sum.HeldTotal += c.HeldTotal

	sum.GatesClosed += c.GatesClosed
	sum.GateHolds += c.GateHolds
	sum.GateHeld += c.GateHeld
	c.GateSeconds.addTo(&sum.GateSeconds)

	sum.UpstreamConnects += c.UpstreamConnects
	sum.UpstreamConnectFailures += c.UpstreamConnectFailures
	sum.UpstreamOpen += c.UpstreamOpen
	sum.InFlight += c.InFlight
	sum.LeasesBusy += c.LeasesBusy
	sum.LeaseWaits += c.LeaseWaits
	sum.Subscribers += c.Subscribers
	sum.Subscriptions += c.Subscriptions
	sum.MessagesIn += c.MessagesIn
	sum.MessagesOut += c.MessagesOut
	sum.SubscribersCut += c.SubscribersCut

	addAll(sum.BytesIn[:], c.BytesIn[:])
	addAll(sum.BytesOut[:], c.BytesOut[:])
	addAll(sum.Reads[:], c.Reads[:])
	addAll(sum.Writes[:], c.Writes[:])
	sum.BufferBytes += c.BufferBytes
	sum.ReadsPaused += c.ReadsPaused

	sum.Iterations += c.Iterations
	sum.LoopBusy += c.LoopBusy
}

func addAll(sum, c []uint64) {
	for i, n := range c {
		sum[i] += n
	}
}

// CommandsTotal is the number of commands answered, whatever the answer.
func (c *Counters) CommandsTotal() uint64 {
	var n uint64
	for _, k := range c.Commands {
		n += k.OK + k.ServerError + k.ProxyError
	}
	return n
}
