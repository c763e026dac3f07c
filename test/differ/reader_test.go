package differ

import (
	"slices"
	"strings"
	"testing"

	"slotproxy/test/wire"
)

func words(lines ...string) (out [][]string) {
	for _, l := range lines {
		out = append(out, strings.Fields(l))
	}
	return out
}

// confirmation is the reply to a (P|S)(UN)SUBSCRIBE.
func confirmation(kind, channel, count string) string {
	return "*3\r\n" + bulk(kind) + bulk(channel) + ":" + count + "\r\n"
}

func bulk(s string) string { return strings.SplitN(string(wire.AppendCommand(nil, s)), "\r\n", 2)[1] }

func TestAReplyIsGivenToItsCommand(t *testing.T) {
	tests := []struct {
		name     string
		commands []string
		replies  []string
		want     []string // the command of each reply
	}{
		{"one reply a command", []string{"GET a", "DEL a"}, []string{"$-1\r\n", ":0\r\n"}, []string{"GET a", "DEL a"}},
		{"silence until REPLY ON", []string{"CLIENT REPLY OFF", "GET a", "CLIENT REPLY ON", "GET b"}, []string{"+OK\r\n", "$-1\r\n"}, []string{"CLIENT REPLY ON", "GET b"}},
		{"one reply left out", []string{"CLIENT REPLY SKIP", "GET a", "GET b"}, []string{"$-1\r\n"}, []string{"GET b"}},
		{"a reply for each channel", []string{"SUBSCRIBE a b", "PING"}, []string{confirmation("subscribe", "a", "1"), confirmation("subscribe", "b", "2"), "+PONG\r\n"},
			[]string{"SUBSCRIBE a b", "SUBSCRIBE b", "PING"}},
		{"one for each channel there was", []string{"UNSUBSCRIBE", "PUNSUBSCRIBE"},
			[]string{confirmation("unsubscribe", "a", "1"), confirmation("unsubscribe", "b", "0"), confirmation("punsubscribe", "", "0")}, []string{"UNSUBSCRIBE", "UNSUBSCRIBE", "PUNSUBSCRIBE"}},
		{"one that nobody asked for", []string{"PING"}, []string{"+PONG\r\n", "+PONG\r\n"}, []string{"PING", ""}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var r reader
			r.begin(words(tt.commands...))
			var got []string
			for _, reply := range tt.replies {
				got = append(got, strings.Join(r.next([]byte(reply)), " "))
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("%q: got %q, want %q", tt.replies, got, tt.want)
			}
		})
	}
}

func TestWhatAStepLeavesIsKnown(t *testing.T) {
	tests := []struct {
		name                            string
		multi                           bool
		commands                        []string
		wantMulti, wantListens, visible bool
	}{
		{"plain", false, []string{"GET a"}, false, false, true},
		{"a transaction that stays open", false, []string{"MULTI", "GET a"}, true, false, true},
		{"one that ends", true, []string{"EXEC", "GET a"}, false, false, true},
		{"an EXEC that is refused", true, []string{"EXEC now"}, true, false, true},
		{"a subscription", false, []string{"SUBSCRIBE a"}, false, true, true},
		{"replies that stay off", false, []string{"CLIENT REPLY OFF", "PING"}, false, false, false},
		{"replies that come back", false, []string{"CLIENT REPLY OFF", "CLIENT REPLY ON"}, false, false, true},
		{"a reply left out at the end", false, []string{"CLIENT REPLY SKIP"}, false, false, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			multi, listens, visible := after(tt.multi, words(tt.commands...))
			if multi != tt.wantMulti || listens != tt.wantListens || visible != tt.visible {
				t.Errorf("%q: got %v %v %v, want %v %v %v", tt.commands, multi, listens, visible, tt.wantMulti, tt.wantListens, tt.visible)
			}
		})
	}
}

func TestOnlyWhatNoTwoServersAnswerAlikeIsMadeEqual(t *testing.T) {
	tests := []struct {
		name, command, want, got string
		equal                    bool
	}{
		{"the order of a set", "SMEMBERS s", "*2\r\n:1\r\n:2\r\n", "*2\r\n:2\r\n:1\r\n", true},
		{"the order of a list", "LRANGE s 0 -1", "*2\r\n:1\r\n:2\r\n", "*2\r\n:2\r\n:1\r\n", false},
		{"a member that is missing", "SMEMBERS s", "*2\r\n:1\r\n:2\r\n", "*1\r\n:2\r\n", false},
		{"a set in the other protocol", "SMEMBERS s", "*1\r\n:1\r\n", "~1\r\n:1\r\n", false},
		{"the order of pairs", "HGETALL h", "%2\r\n+a\r\n+1\r\n+b\r\n+2\r\n", "%2\r\n+b\r\n+2\r\n+a\r\n+1\r\n", true},
		{"pairs that are mixed up", "HGETALL h", "*4\r\n+a\r\n+1\r\n+b\r\n+2\r\n", "*4\r\n+a\r\n+2\r\n+b\r\n+1\r\n", false},
		{"a moment later", "TTL k", ":100000\r\n", ":99999\r\n", true},
		{"no time left", "TTL k", ":100000\r\n", ":-1\r\n", false},
		{"a random member", "SRANDMEMBER s", "$1\r\na\r\n", "$1\r\nb\r\n", true},
		{"none instead of a random one", "SRANDMEMBER s", "$1\r\na\r\n", "$-1\r\n", false},
		{"an error instead of a set", "SMEMBERS s", "*0\r\n", "-ERR no\r\n", false},
		{"another null", "GET k", "$-1\r\n", "*-1\r\n", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var r reader
			if got := r.equal(strings.Fields(tt.command), []byte(tt.want), []byte(tt.got)); got != tt.equal {
				t.Errorf("%s: %q and %q: got %v, want %v", tt.command, tt.want, tt.got, got, tt.equal)
			}
		})
	}
}

func TestATransactionIsNormalisedCommandByCommand(t *testing.T) {
	var r reader
	for _, line := range words("SMEMBERS s", "LRANGE l 0 -1") {
		r.equal(line, []byte("+QUEUED\r\n"), []byte("+QUEUED\r\n"))
	}
	one, two := "*2\r\n:1\r\n:2\r\n", "*2\r\n:2\r\n:1\r\n"
	queued := slices.Clone(r.queued)
	if !r.equal([]string{"EXEC"}, []byte("*2\r\n"+one+one), []byte("*2\r\n"+two+one)) {
		t.Error("the order of the set made a difference")
	}
	r.queued = queued
	if r.equal([]string{"EXEC"}, []byte("*2\r\n"+one+one), []byte("*2\r\n"+one+two)) {
		t.Error("the order of the list made none")
	}
}
