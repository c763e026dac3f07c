package proxy

import (
	"bytes"
	"errors"
	"strconv"
	"strings"

	"slotproxy/internal/metrics"
	"slotproxy/resp"
	"slotproxy/router"
)

// The sentences that clients may read. They live here only. Those that a server would say are worded as Valkey words
// them; our own begin with PROXY, so that a reader knows which side spoke.
const (
	errTextBadRedirect = "CLUSTERDOWN the node answered with a redirect that cannot be followed"
	errTextUnknown     = "PROXYUNKNOWN outcome unknown: the connection to the node was lost after the command was sent"
	errTextLoose       = "PROXYUNKNOWN outcome unknown: the node refused MULTI, and so ran the commands of the transaction one by one"
	errTextTimeout     = "PROXYTIMEOUT the node did not answer in time; if the command writes, its outcome is unknown"
	errTextNoAuth      = "NOAUTH Authentication required."
	errTextCrossSlot   = "CROSSSLOT Keys in request don't hash to the same slot"
	errTextNotInt32    = "ERR value is out of range, value must between -2147483648 and 2147483647"
	errTextDBIndex     = "ERR DB index is out of range"
	errTextNotInteger  = "ERR value is not an integer or out of range"
	errTextMaxClients  = "ERR max number of clients reached"
	errTextSyntax      = "ERR syntax error"
	errTextProtoInt    = "ERR Protocol version is not an integer or out of range"
	errTextBadName     = "ERR Client names cannot contain spaces, newlines or special characters."
	errTextClientID    = "ERR Invalid client ID"
	errTextNoProto     = "NOPROTO unsupported protocol version"

	errTextNestedMulti     = "ERR MULTI calls can not be nested"
	errTextWatchInMulti    = "ERR WATCH inside MULTI is not allowed"
	errTextTooManyTracking = "PROXYLIMIT too many clients with CLIENT TRACKING, each has a connection to every node"
	errTextOneRedirect     = "ERR A client can only redirect to a single other client"
	errTextNoRedirect      = "ERR The client ID you want redirect to does not exist"
	errTextNoTracking      = "ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or OPTOUT mode enabled"
	errTextNoOptin         = "ERR CLIENT CACHING YES is only valid when tracking is enabled in OPTIN mode."
	errTextNoOptout        = "ERR CLIENT CACHING NO is only valid when tracking is enabled in OPTOUT mode."
	errTextUnblocked       = "UNBLOCKED client unblocked via CLIENT UNBLOCK"
	errTextMonitors        = "ERR Replica can't interact with the keyspace"
	errTextNoMultiExec     = "ERR EXEC without MULTI"
	errTextNoMultiDiscard  = "ERR DISCARD without MULTI"
	errTextManyChannels    = "PROXYLIMIT the client is subscribed to too many channels"
	errTextBigTransaction  = "PROXYLIMIT the transaction has too many commands or bytes"

	errTextNoConsole   = "PROXYUNSUPPORTED PROXY is for the admin port"
	errTextConsoleBusy = "PROXYLIMIT too many PROXY commands are under way, try again later"
	errTextLongConsole = "PROXYLIMIT PROXY has too many words or too long ones"

	errTextClusterOff    = "ERR This instance has cluster support disabled"
	errTextLongName      = "PROXYLIMIT names of clients and libraries may have 4096 bytes"
	errTextKillID        = "ERR client-id should be greater than 0"
	errTextNoClient      = "ERR No such client"
	errTextUnblock       = "ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR"
	errTextPauseMode     = "ERR CLIENT PAUSE mode must be WRITE or ALL"
	errTextNegativePause = "ERR timeout is negative"
	errTextLongPause     = "ERR timeout is out of range"

	errTextEmulateBytes  = "PROXYLIMIT the keys of the command lie in several slots and hold more than the proxy may fetch (emulate_max_bytes)"
	errTextNegativeLimit = "ERR LIMIT can't be negative"
	errTextWeight        = "ERR weight value is not a float"
	errTextLCSType       = "ERR The specified keys must contain string values"
	errTextLCSBoth       = "ERR If you want both the length and indexes, please just use IDX."
	errTextNoHLL         = "WRONGTYPE Key is not a valid HyperLogLog string value."
	errTextBadHLL        = "INVALIDOBJ Corrupted HLL object detected"
	errTextCopyDB        = "PROXYUNSUPPORTED COPY with DB needs both keys in one slot"
	errTextSameObject    = "ERR source and destination objects are the same"
	errTextManyKeys      = "PROXYLIMIT the keys take more of the buffers of the proxy than they may (a quarter of buffer_budget); use SCAN"
)

// How far a command in several slots had come when it could not go on, see partlyDone.
const (
	partlyCopied     = "left the old key as it was; whether the new one has its value is not known"
	partlyNotDeleted = "wrote the new key; the old one could not be deleted, or nobody knows whether it was"
	partlyNotUpdated = "wrote the new key and deleted the old one; what changed in between may be lost"
	partlyNotMoved   = "left the member where it was; whether it was also added to the other set is not known"
	partlyInBoth     = "added the member; whether it was removed from the first set is not known"
	partlyNotUndone  = "found the member gone from the first set; it may be in the second"
	partlyPopped     = "popped an element; whether it was pushed is not known"
	partlyNotPutBack = "popped an element, could not push it and not put it back"
	partlySet        = "could not set all keys; some of them may be set"
)

var (
	errReplyCut     = errors.New("a node broke the reply of which a part had been passed on")
	errSlowConsumer = errors.New("the client does not read")
	errBudget       = errors.New("the buffer budget is spent")
	errIdle         = errors.New("idle")
	errNotAllowed   = errors.New("the client's user may not listen any more")
	errDrained      = errors.New("drained")
	errKilled       = errors.New("killed by another client")
	errProtocol     = errors.New("protocol error")
	errStray        = errors.New("a script of this client upset the order of replies")
)

// waitCause is why a request waits; it chooses the words when its time is up.
type waitCause uint8

const (
	causeNoOwner waitCause = iota
	causeUnreachable
	causeLost
	causeTryAgain
	causeClusterDown
	causeLoading
	causeMasterDown
	causeReadOnly
	causeRedirects
	causeUnknownNode
	causeLease
	causeSubscribers
)

func causeOf(k resp.ErrorKind) waitCause {
	switch k {
	case resp.Loading:
		return causeLoading
	case resp.MasterDown:
		return causeMasterDown
	case resp.ReadOnly:
		return causeReadOnly
	}
	return causeClusterDown
}

func redirectOf(k resp.ErrorKind) metrics.RedirectKind {
	switch k {
	case resp.Loading:
		return metrics.RedirectLoading
	case resp.MasterDown:
		return metrics.RedirectMasterDown
	case resp.ReadOnly:
		return metrics.RedirectReadOnly
	}
	return metrics.RedirectClusterDown
}

// giveUp words the end of a wait: the code that a cluster would have given, then what the proxy tried.
func (w waitCause) giveUp(l *loop, r *request) string {
	r.fault = true
	where := "the cluster"
	if r.hasSlot {
		where = "slot " + strconv.Itoa(int(r.slot))
	}
	after := ", also after " + strconv.FormatInt((l.now-r.start)/1e6, 10) + " ms"
	switch w {
	case causeTryAgain:
		return "TRYAGAIN the keys of the command are split between two nodes while " + where + " moves" + after
	case causeLoading:
		return "LOADING the node that serves " + where + " is loading its data" + after
	case causeMasterDown:
		return "MASTERDOWN the node that serves " + where + " has lost its primary" + after
	case causeReadOnly:
		return "READONLY the node that serves " + where + " is a replica" + after
	case causeRedirects:
		return "CLUSTERDOWN the nodes do not agree who serves " + where + after
	case causeUnknownNode:
		return "CLUSTERDOWN " + where + " was said to be at an address that is not a node of the cluster" + after
	case causeLease:
		return "PROXYBUSY all connections that the node may have for blocking commands and WATCH are in use (max_leases)" + after
	case causeSubscribers:
		return "CLUSTERDOWN the subscribers of " + where + " cannot follow it" + after
	case causeUnreachable, causeLost:
		return "CLUSTERDOWN the node that serves " + where + " cannot be reached" + after
	}
	return "CLUSTERDOWN no node serves " + where + after
}

// fail ends r with an error of our own.
func (l *loop) fail(r *request, text string) {
	if r.state == stateDone {
		return
	}
	l.dropReply(r)
	r.ownError = true
	l.scratch = resp.AppendError(l.scratch[:0], text)
	l.finish(r, l.scratch)
}

// cString ends at the first zero byte, as texts do in the server.
func cString(b []byte) string {
	if i := bytes.IndexByte(b, 0); i >= 0 {
		b = b[:i]
	}
	return string(b)
}

// maxEcho bounds how much of a client's words an error repeats, as in the server.
const maxEcho = 128

// unknownCommand words what the server says to a command it does not know.
func unknownCommand(args [][]byte) string {
	t := "ERR unknown command '" + cString(args[0][:min(len(args[0]), maxEcho)]) + "', with args beginning with: "
	rest := 0
	for _, a := range args[1:] {
		if rest >= maxEcho {
			break
		}
		a = a[:min(len(a), maxEcho-rest)]
		shown := cString(a)
		t += "'" + shown + "' "
		rest += len(shown) + 3
	}
	return t
}

func unknownSubcommand(rule *router.Rule, args [][]byte) string {
	sub := cString(args[1][:min(len(args[1]), maxEcho)])
	return "ERR unknown subcommand '" + sub + "'. Try " + strings.ToUpper(rule.Name) + " HELP."
}

func unknownOption(name string) string { return "ERR Unrecognized option '" + name + "'" }

func badOption(name string) string {
	return "ERR " + name + " cannot contain spaces, newlines or special characters."
}

func refusedDebug(sub []byte) string {
	return "PROXYUNSUPPORTED DEBUG " + strings.ToUpper(cString(sub[:min(len(sub), maxEcho)])) + " it can stop or damage a node that others share"
}

func noSuchUser(name string) string { return "ERR No such user '" + name + "'" }

func notInteger(what string) string { return "ERR " + what + " is not an integer or out of range" }

func notPositive(what string) string { return "ERR " + what + " should be greater than 0" }

func unknownLetters(not, what, value string) string {
	filter := "provided"
	if not != "" {
		filter = not + strings.ToUpper(what)
	}
	return "ERR Unknown " + what + " found in the " + filter + " filter: " + value
}

func badFilterDB(not string) string { return "ERR " + not + "DB number should be between 0 and 15" }

func wrongSubArity(rule *router.Rule) string {
	name, sub, _ := strings.Cut(strings.ToUpper(rule.Name), "|")
	return "ERR unknown subcommand or wrong number of arguments for '" + sub + "'. Try " + name + " HELP."
}

func debugArity(sub []byte) string {
	return "ERR unknown subcommand or wrong number of arguments for '" + string(sub[:min(len(sub), maxEcho)]) + "'. Try DEBUG HELP."
}

func unknownClientType(name []byte) string { return "ERR Unknown client type '" + string(name) + "'" }

// helloNeedsAuth words what HELLO says to a stranger.
func helloNeedsAuth(r release) string {
	form := "HELLO <proto> AUTH <user> <pass>"
	if !r.since(7, 2) {
		form = "HELLO AUTH <user> <pass>"
	}
	return "NOAUTH HELLO must be called with the client already authenticated, otherwise the " + form +
		" option can be used to authenticate the client and select the RESP protocol version at the same time"
}

func badHelloOption(name []byte) string {
	return "ERR Syntax error in HELLO option '" + string(name) + "'"
}

func wrongArity(rule *router.Rule) string {
	return "ERR wrong number of arguments for '" + rule.Name + "' command"
}

func repliesDiffer(rule *router.Rule) string {
	return "ERR the nodes' replies to '" + rule.Name + "' do not fit together"
}

// notInMulti words what a server of this kind says to a command that transactions exclude.
func (l *loop) notInMulti(rule *router.Rule) string {
	if f := l.p.cfg.Info(); f.Name == "valkey" && len(f.Version) > 1 && f.Version[1] == '.' && f.Version[0] < '9' || f.Name == "redis" {
		return "ERR Command not allowed inside a transaction"
	}
	return "ERR Command '" + rule.Name + "' not allowed inside a transaction"
}

// abortedBecause words what a server says when a whole transaction fails for one reason.
func abortedBecause(line []byte) string {
	return "EXECABORT Transaction discarded because of: " + strings.TrimRight(string(line[1:]), "\r\n")
}

// doneOnSome words the failure of a command that some of the primaries have carried out, and more of them perhaps: unknown.
func doneOnSome(refused []byte, done, all int, unknown bool) string {
	who := "so says a node; "
	if unknown {
		who = "at least "
	}
	return strings.TrimRight(string(refused[1:]), "\r\n") + " (" + who + itoa(done) + " of " + itoa(all) + " primaries have done it)"
}

// ofOneNode refuses to give all nodes what only one may have.
func ofOneNode(setting string) string {
	return "PROXYUNSUPPORTED CONFIG SET " + cString([]byte(setting)) + " each node has a value of its own: set it at the node itself"
}

func noPermission(user string, rule *router.Rule) string {
	return "NOPERM User " + user + " has no permissions to run the '" + rule.Name + "' command"
}

func notInTransaction(rule *router.Rule) string {
	why := "the proxy carries it out, not the node of the transaction"
	if rule.Policy == router.AllPrimaries || rule.Policy == router.Scan {
		why = "it concerns more than the node of its keys"
	}
	return "PROXYUNSUPPORTED " + strings.ToUpper(strings.Replace(rule.Name, "|", " ", 1)) + " cannot be part of a transaction: " + why
}

func unsupported(rule *router.Rule) string {
	return "PROXYUNSUPPORTED " + strings.ToUpper(strings.Replace(rule.Name, "|", " ", 1)) + " " + rule.Why
}

// onlySubscribe refuses what a RESP2 client may not send while it is subscribed.
func onlySubscribe(rule *router.Rule) string {
	return "ERR Can't execute '" + rule.Name +
		"': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context"
}

func notSubscribed(rule *router.Rule) string {
	return "NOSUB '" + rule.Name + "' command executed not in subscribed mode"
}

// partlyDone words the end of a command in several slots that was carried out in part.
func partlyDone(rule *router.Rule, done string, line []byte) string {
	return "PROXYUNKNOWN " + strings.ToUpper(rule.Name) + " " + done + ": " + strings.TrimRight(string(line[1:]), "\r\n")
}

func itoa(n int) string { return strconv.Itoa(n) }
