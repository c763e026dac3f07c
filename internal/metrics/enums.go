package metrics

// DisconnectReason says why a session ended.
type DisconnectReason uint8

// The reasons a session ends for.
const (
	DisconnectClient       DisconnectReason = iota // the client closed, or its connection broke
	DisconnectIdle                                 // idle_timeout
	DisconnectSlowConsumer                         // more unread output than output_hard
	DisconnectProtocol                             // it sent what no client may send
	DisconnectDrain                                // the proxy is going away
	DisconnectKilled                               // CLIENT KILL, or an administrator
	DisconnectUpstream                             // a node broke a reply of which a part had been passed on
	DisconnectLimit                                // a bound other than output: AUTH failures, buffer budget
	numDisconnects
)

var disconnectNames = [numDisconnects]string{
	"client", "idle", "slow_consumer", "protocol", "drain", "killed", "upstream", "limit",
}

// String is the label value.
func (r DisconnectReason) String() string { return disconnectNames[r] }

// RejectReason says why a new connection was not made a session.
type RejectReason uint8

// The reasons a connection is refused for.
const (
	RejectMaxClients RejectReason = iota // max_clients is reached
	RejectFDLimit                        // the process has no file descriptor left
	RejectTLS                            // the handshake failed or took too long
	RejectDraining                       // accepted by the kernel while the proxy goes away
	RejectMemory                         // the buffer budget is spent
	numRejects
)

var rejectNames = [numRejects]string{"max_clients", "fd_limit", "tls", "draining", "memory"}

// String is the label value.
func (r RejectReason) String() string { return rejectNames[r] }

// Class groups commands by what makes them slow.
type Class uint8

// The classes of commands.
const (
	ClassRead     Class = iota // one slot, does not write
	ClassWrite                 // one slot, writes
	ClassMultiKey              // keys in more than one place: split and merged
	ClassKeyspace              // asks every primary, or any node
	ClassLocal                 // answered by the proxy itself
	ClassBlocking              // waited in its node for another client
	numClasses
)

var classNames = [numClasses]string{"read", "write", "multi_key", "keyspace", "local", "blocking"}

// String is the label value.
func (c Class) String() string { return classNames[c] }

// RedirectKind is an answer of a node that is about the cluster and not about the data.
type RedirectKind uint8

// The answers that the proxy follows or waits out.
const (
	RedirectMoved RedirectKind = iota
	RedirectAsk
	RedirectTryAgain
	RedirectClusterDown
	RedirectReadOnly
	RedirectLoading
	RedirectMasterDown
	numRedirects
)

var redirectNames = [numRedirects]string{"moved", "ask", "tryagain", "clusterdown", "readonly", "loading", "masterdown"}

// String is the label value.
func (k RedirectKind) String() string { return redirectNames[k] }

// RefusedReason says why a redirect was not followed.
type RefusedReason uint8

// The reasons a redirect is not followed for.
const (
	RefusedNotAllowed RefusedReason = iota // the address is neither a node of the cluster nor in allow_cidrs
	RefusedBadAddress                      // the address cannot be read
	RefusedLimit                           // max_redirects hops
	RefusedBudget                          // redirect_budget is spent
	numRefused
)

var refusedNames = [numRefused]string{"not_allowed", "bad_address", "limit", "budget"}

// String is the label value.
func (r RefusedReason) String() string { return refusedNames[r] }

// RetryReason says why a command was sent again.
type RetryReason uint8

// The reasons a command is sent again for.
const (
	RetryUnsent   RetryReason = iota // its connection broke before a byte of it was written
	RetryRead                        // its connection broke after that, but it only reads
	RetryState                       // TRYAGAIN, CLUSTERDOWN, LOADING, MASTERDOWN, READONLY: waited out
	RetryNoScript                    // the node did not know a script that the proxy knows
	numRetries
)

var retryNames = [numRetries]string{"unsent", "read", "cluster_state", "noscript"}

// String is the label value.
func (r RetryReason) String() string { return retryNames[r] }

// Side is one of the two sides of the proxy.
type Side uint8

// The two sides.
const (
	SideClient   Side = iota // connections of applications
	SideUpstream             // connections to nodes
	NumSides                 // how many there are
)

var sideNames = [NumSides]string{"client", "upstream"}

// String is the label value.
func (s Side) String() string { return sideNames[s] }

// SlotState is what the proxy knows of a slot.
type SlotState uint8

// The states of a slot.
const (
	SlotOK         SlotState = iota // a reachable primary owns it
	SlotOpen                        // owned, and on its way to another node
	SlotFailed                      // its owner is failed
	SlotUnassigned                  // nobody owns it
	numSlotStates
)

var slotStateNames = [numSlotStates]string{"ok", "open", "failed", "unassigned"}

// String is the label value.
func (s SlotState) String() string { return slotStateNames[s] }
