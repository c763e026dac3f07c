package storm

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"slotproxy/test/wire"
)

// channel has one publisher, who counts, and several subscribers, who see every number once and in order.
type channel struct {
	name    string
	sharded bool
	want    int64 // subscribers that must be there before the first message

	ready atomic.Int64 // subscribers that were there once
	left  atomic.Int64 // subscribers that have seen the end
	sent  atomic.Int64 // the number of the last message handed to the connection
}

// command is the name of the ordinary command or of its sharded form.
func (c *channel) command(name string) string {
	if c.sharded {
		return "S" + name
	}
	return name
}

func (c *channel) kind(name string) string {
	if c.sharded {
		return "s" + name
	}
	return name
}

// publisher publishes a few messages at once; each is a number and the time of its sending, the last ones say that it is the end.
type publisher struct {
	channel *channel
	place   *place
}

func (p *publisher) reset() {}

func (p *publisher) turn(ctx context.Context, t *talker) (bool, error) {
	c := p.channel
	if c.ready.Load() < c.want {
		wait(ctx, 10*time.Millisecond)
		return false, nil
	}
	atEnd, note := ctx.Err() != nil, ""
	if atEnd {
		if c.left.Load() == c.want {
			return true, nil
		}
		note = "|end" // again and again, as some subscriber may be away just now
		time.Sleep(20 * time.Millisecond)
	}
	steps := make([]step, 1+p.place.rnd.IntN(10))
	for i := range steps {
		text := fmt.Sprintf("%d|%d%s", c.sent.Add(1), time.Now().UnixMicro(), note)
		steps[i] = step{[]string{c.command("PUBLISH"), c.name, text}, func(v wire.Value) string {
			if v.Kind == ':' && v.Int >= 0 {
				return ""
			}
			return fmt.Sprintf("got %s, want a number of receivers", v)
		}}
	}
	if _, err := t.ask(steps...); err != nil {
		return false, err
	}
	wait(ctx, time.Duration(p.place.rnd.IntN(10))*time.Millisecond)
	return false, nil
}

// subscriber reads what is published. Now and then it sends a command in between; one that wanders unsubscribes and comes back.
type subscriber struct {
	channel *channel
	place   *place
	pattern bool
	wanders bool

	on     bool
	told   bool  // the channel knows that it was there
	ended  bool  // the channel knows that it has seen the end
	last   int64 // the last number seen
	latest int64 // after a subscription: the first number is not above this
	due    func(wire.Value) string
}

func (s *subscriber) reset() { s.on, s.due = false, nil }

func (s *subscriber) turn(_ context.Context, t *talker) (bool, error) {
	if s.ended {
		return true, nil
	}
	if !s.on {
		return false, s.subscribe(t)
	}
	switch n := s.place.rnd.IntN(200); {
	case n == 0 && s.wanders && s.due == nil:
		return false, s.unsubscribe(t)
	case n < 10 && s.due == nil:
		if err := s.interrupt(t); err != nil {
			return false, err
		}
	}
	v, err := s.read(t)
	if err != nil {
		return false, err
	}
	if s.due != nil && !s.message(v) {
		problem := s.due(v)
		s.due = nil
		if !t.judge([]string{"a command of a subscriber"}, v, problem) {
			return false, errFault
		}
		return false, nil
	}
	if !t.judge([]string{"a message of", s.channel.name}, v, s.take(t, v)) {
		return false, errFault
	}
	return s.ended, nil
}

func (s *subscriber) read(t *talker) (wire.Value, error) {
	v, err := t.conn.Read()
	if err != nil {
		return v, fmt.Errorf("after message %d of %d: %w", s.last, s.channel.sent.Load(), err)
	}
	return v, nil
}

// names are the two channels of a subscriber, of which the second stays silent.
func (s *subscriber) names() []string {
	if s.pattern {
		name := []byte(s.channel.name)
		name[len(name)-1] = '?'
		return []string{string(name), s.channel.name + ":none*"}
	}
	return []string{s.channel.name, s.channel.name + ":none"}
}

func (s *subscriber) verb(name string) string {
	if s.pattern {
		return "p" + name
	}
	return s.channel.kind(name)
}

// confirmed reads the confirmations of a command, among the messages that may come before them.
func (s *subscriber) confirmed(t *talker, verb string, counts ...int64) error {
	names := s.names()
	for i := 0; i < len(names); {
		v, err := s.read(t)
		if err != nil {
			return err
		}
		problem := ""
		if s.on && s.message(v) {
			problem = s.take(t, v)
		} else {
			t.count(time.Now())
			if !s.push(v) || len(v.Elems) != 3 || v.Elems[0].Text != verb || v.Elems[1].Text != names[i] || v.Elems[2].Int != counts[i] {
				problem = fmt.Sprintf("got %s, want %s %s %d", v, verb, names[i], counts[i])
			}
			i++
		}
		if !t.judge([]string{verb, names[0]}, v, problem) {
			return errFault
		}
	}
	return nil
}

func (s *subscriber) say(t *talker, verb string) error {
	t.conn.Append(append([]string{strings.ToUpper(verb)}, s.names()...)...)
	return t.conn.Flush()
}

func (s *subscriber) subscribe(t *talker) error {
	verb := s.verb("subscribe")
	if err := s.say(t, verb); err != nil {
		return err
	}
	if err := s.confirmed(t, verb, 1, 2); err != nil {
		return err
	}
	// What is published from now on comes; a message that was on its way may or may not.
	s.on, s.latest = true, s.channel.sent.Load()+1
	if !s.told {
		s.told = true
		s.channel.ready.Add(1)
	}
	return nil
}

func (s *subscriber) unsubscribe(t *talker) error {
	verb := s.verb("unsubscribe")
	if err := s.say(t, verb); err != nil {
		return err
	}
	if err := s.confirmed(t, verb, 1, 0); err != nil {
		return err
	}
	s.on = false
	_, err := t.ask(nonce(s.place))
	return err
}

// interrupt sends a command whose reply comes among the messages.
func (s *subscriber) interrupt(t *talker) error {
	text := strconv.FormatUint(s.place.rnd.Uint64(), 36)
	switch {
	case t.proto == 3 && s.place.rnd.IntN(2) == 0: // RESP3 allows every command here
		t.conn.Append("GETSET", s.channel.name+":string", text)
		s.due = func(v wire.Value) string {
			if v.Kind == '$' || v.Null {
				return ""
			}
			return fmt.Sprintf("got %s, want a string", v)
		}
	case t.proto == 3:
		t.conn.Append("PING", text)
		s.due = wantBulk(text)
	default:
		t.conn.Append("PING", text)
		s.due = wantList([]string{"pong", text})
	}
	return t.conn.Flush()
}

// push tells whether the server may have sent this unasked, in the protocol of the connection.
func (s *subscriber) push(v wire.Value) bool { return v.Kind == '>' || v.Kind == '*' && !v.Null }

func (s *subscriber) message(v wire.Value) bool {
	return s.push(v) && len(v.Elems) > 2 && v.Elems[0].Text == s.verb("message")
}

// take checks one message against the one before.
func (s *subscriber) take(t *talker, v wire.Value) string {
	want := []string{s.verb("message"), s.channel.name}
	if s.pattern {
		want = []string{"pmessage", s.names()[0], s.channel.name}
	}
	kind := byte('*')
	if t.proto == 3 {
		kind = '>'
	}
	if v.Kind != kind || len(v.Elems) != len(want)+1 {
		return fmt.Sprintf("got %s, want %c%s", v, kind, want)
	}
	for i, w := range want {
		if v.Elems[i].Text != w {
			return fmt.Sprintf("got %s, want %s", v, want)
		}
	}
	fields := strings.Split(v.Elems[len(want)].Text, "|")
	if len(fields) < 2 {
		return fmt.Sprintf("got %s, which nobody published", v)
	}
	n, _ := strconv.ParseInt(fields[0], 10, 64)
	at, _ := strconv.ParseInt(fields[1], 10, 64)
	t.count(time.UnixMicro(at))
	switch {
	case s.latest > 0 && (n <= s.last || n > s.latest):
		return fmt.Sprintf("the first message is %d, want more than %d and at most %d", n, s.last, s.latest)
	case s.latest == 0 && n != s.last+1:
		return fmt.Sprintf("message %d follows message %d", n, s.last)
	}
	s.last, s.latest = n, 0
	if len(fields) > 2 && !s.ended {
		s.ended = true
		s.channel.left.Add(1)
	}
	return ""
}
