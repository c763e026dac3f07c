package router

// Policy says what the proxy does with a command. The zero value is no policy: every rule of a Commands set has one.
type Policy uint8

// The policies. docs/commands.md lists which command has which.
const (
	_            Policy = iota
	Shard               // send it to the node of its slot; two slots are an error
	Split               // send each slot's part to its node and merge the replies in the order of the keys
	AllPrimaries        // send it to every primary and merge
	AnyNode             // any node's reply is what one server would say
	Local               // the proxy answers
	Scan                // the proxy walks over all slots
	Iterate             // send it to the node of its slot, whose cursor is marked as that node's
	Transaction         // MULTI, EXEC and their family
	Lease               // needs a node connection of the client's own while it runs
	Publish             // a message for subscribers: to the node that the proxy's own listen at, or to that of its slot
	Subscribe           // the node keeps sending after the reply
	Script              // runs code on the node of its keys; the proxy knows the code
	Refused             // answered with an error and Why
)

var policyNames = [...]string{"", "Shard", "Split", "AllPrimaries", "AnyNode", "Local", "Scan", "Iterate", "Transaction", "Lease",
	"Publish", "Subscribe", "Script", "Refused"}

// String returns the name used in docs and logs.
func (p Policy) String() string {
	if int(p) < len(policyNames) {
		return policyNames[p]
	}
	return "Policy(?)"
}

// Merge says how the replies of several nodes become one. In all of them an error of one node is the reply, the first in
// the order of the nodes (for Split: of the keys).
type Merge uint8

// The merges.
const (
	MergeNone      Merge = iota // one node, nothing to merge
	MergeSum                    // integers, added
	MergeMin                    // integers, the smallest
	MergeMax                    // integers, the largest
	MergeOK                     // +OK when all say so
	MergeFirst                  // all say the same: the first reply
	MergeArrays                 // arrays, one behind the other
	MergeMGet                   // arrays of the parts, put back into the order of the keys
	MergeRandom                 // one of the replies that are not null, chosen at random; null when all are
	MergeInfo                   // INFO texts, made into that of one server
	MergePubsub                 // of the nodes' subscribers and the proxy's
	MergeLeasts                 // arrays of integers, the smallest at each place
	MergeLog                    // entries of a SLOWLOG or COMMANDLOG and those of the proxy, newest first
	MergeLogLen                 // their number
	MergeLogReset               // +OK when all say so, and the proxy's entries are gone
	MergeACLLog                 // entries of ACL LOG, newest first
	MergeDelUser                // integers, the largest; and the clients of the users are cut off
	MergeEvents                 // LATENCY LATEST: one entry an event
	MergeHistory                // LATENCY HISTORY: samples in the order of time
	MergeHistogram              // LATENCY HISTOGRAM: counts, added
	MergeTexts                  // reports, each different one once
	MergeFigures                // MEMORY STATS: sums, and averages of ratios
)

var mergeNames = [...]string{"", "sum", "smallest", "largest", "OK when all are", "first", "arrays joined",
	"values in key order", "one at random", "one INFO", "subscribers of all", "smallest at each place",
	"entries of all and the proxy's, newest first", "their number", "OK when all are", "entries of all, newest first",
	"largest", "newest and largest of each event", "samples of all", "counts added", "different reports joined", "sums and averages"}

// String returns the words used in docs.
func (m Merge) String() string {
	if int(m) < len(mergeNames) {
		return mergeNames[m]
	}
	return "Merge(?)"
}

// Flags are the command flags that a server reports in COMMAND.
type Flags uint32

// The flags, named as the servers name them.
const (
	FlagWrite Flags = 1 << iota
	FlagReadonly
	FlagDenyOOM
	FlagAdmin
	FlagPubsub
	FlagNoscript
	FlagBlocking
	FlagLoading
	FlagStale
	FlagSkipMonitor
	FlagSkipSlowlog
	FlagAsking
	FlagFast
	FlagNoAuth
	FlagNoMandatoryKeys
	FlagNoAsyncLoading
	FlagNoMulti
	FlagMovable // key positions depend on the arguments
	FlagAllowBusy
	FlagModule
)

var flagNames = map[string]Flags{
	"write": FlagWrite, "readonly": FlagReadonly, "denyoom": FlagDenyOOM, "admin": FlagAdmin, "pubsub": FlagPubsub,
	"noscript": FlagNoscript, "blocking": FlagBlocking, "loading": FlagLoading, "stale": FlagStale,
	"skip_monitor": FlagSkipMonitor, "skip_slowlog": FlagSkipSlowlog, "skip_commandlog": FlagSkipSlowlog,
	"asking": FlagAsking, "fast": FlagFast, "no_auth": FlagNoAuth, "no_mandatory_keys": FlagNoMandatoryKeys,
	"no_async_loading": FlagNoAsyncLoading, "no_multi": FlagNoMulti, "movablekeys": FlagMovable,
	"allow_busy": FlagAllowBusy, "module": FlagModule,
}

// Rule is what the proxy knows of one command or sub-command. It is immutable once its Commands set exists.
type Rule struct {
	ID     int    // index into Commands.Rules, the same in every set made from this one by With
	Name   string // lower case; "client|list" for a sub-command
	Arity  int    // arguments including the name; negative: at least that many
	Flags  Flags
	Policy Policy
	Merge  Merge

	// Built is false for a command whose policy this version cannot carry out yet; the client is told so, with Why.
	Built bool
	// Why tells the client of a Refused or unbuilt command the reason; else empty. It is a clause without a capital letter
	// and a full stop.
	Why string
	// Answer, if not empty, is the whole reply of a Local command: "+OK" or an error with its '-', without the line end.
	Answer string
	// Differs says in docs where the reply is not quite that of one server; empty: it is the same.
	Differs string
	// Emulated, if not empty, says how cross_slot: emulate differs from one server when the keys lie in several slots. Such
	// a command is carried out in steps then.
	Emulated string
	// Repeatable: running it twice changes nothing, so it may be sent again although its outcome is unknown.
	Repeatable bool
	// KeyStep, for Split, is the number of arguments that belong to one key: 2 for MSET, else 1. A command whose
	// arguments behind the name are no multiple of it has the wrong number of arguments.
	KeyStep int
	// Apart: cannot be part of a transaction, which one node runs and the proxy only passes on.
	Apart bool
	// BlockOption: blocks only when its arguments say BLOCK (see Blocks) and is a Lease then.
	BlockOption bool
	// Subs holds the sub-commands of a container by lower-case name without the container's; nil for others.
	Subs map[string]*Rule

	subs  nameTable // the same rules, for Lookup
	specs []keySpec
	// oneKey > 0: the only key is at this position; the common case, decided when the set is made.
	oneKey int
	// findKeys, if not nil, knows the keys of a command whose specs cannot say them.
	findKeys func(args [][]byte, dst []int) ([]int, bool)
}

// ArityOK tells whether a command of n arguments, the name included, passes the server's own first check.
func (r *Rule) ArityOK(n int) bool {
	if r.Arity < 0 {
		return n >= -r.Arity
	}
	return n == r.Arity
}

// Blocks tells whether this command may wait in the node for another client: always for BLPOP and its like, for XREAD and
// XREADGROUP only with BLOCK.
func (r *Rule) Blocks(args [][]byte) bool {
	if !r.BlockOption {
		return r.Policy == Lease
	}
	for i := 1; i < len(args); i++ {
		switch arg := args[i]; {
		case foldEqual("block", arg):
			return true
		case foldEqual("streams", arg):
			return false
		case foldEqual("count", arg):
			i++
		case foldEqual("group", arg):
			i += 2
		}
	}
	return false
}
