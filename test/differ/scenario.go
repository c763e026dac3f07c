package differ

import (
	"slices"
	"strconv"
)

// pipeline is one step of commands that have nothing to do with each other.
func (m *maker) pipeline(c int) []Step {
	n := 1 + m.IntN(maxPipeline)
	if m.chance(5) {
		n = burst
	}
	s := Step{Client: c}
	for range n {
		m.tag = m.one(m.tags...)
		s.Commands = append(s.Commands, m.command(m.simple[m.IntN(len(m.simple))]))
		if quits(s.Commands) {
			break // what is written behind it may cost the replies before it
		}
	}
	return []Step{m.cut(s)}
}

// cut may have a step written in pieces.
func (m *maker) cut(s Step) Step {
	if m.chance(20) {
		s.Chunk = 1 + m.IntN(60)
	}
	return s
}

// from makes a command out of templates, of which all keys have the tag of the moment.
func (m *maker) from(templates ...template) []string {
	all := m.tags
	m.tags = []string{m.tag}
	defer func() { m.tags = all }()
	return m.command(templates[m.IntN(len(templates))])
}

func templates(texts ...string) []template {
	var all []template
	for _, text := range texts {
		all = append(all, parse(text))
	}
	return all
}

var (
	// insideMulti is what a transaction may hold beside the commands of the data families.
	insideMulti = templates("PING", "ECHO <val>", "SELECT 0", "MULTI", "WATCH <any>", "<unknown> <any>", "GET", "INCR <str>", "LPUSH <str> <val>", "PUBLISH <channel> <val>")
	blockInside = templates("BLPOP <list> 0", "BLMOVE <list> <list> LEFT RIGHT 0", "BZPOPMIN <zset> 0")
	evalInside  = templates("EVAL <script> #{ <str> } { <val> }", "EVALSHA <sha> 0")
	watching    = templates("WATCH { <any> }", "WATCH <str>", "UNWATCH")
	disturbing  = templates("SET <str> <val>", "DEL <any>", "RPUSH <list> <val>", "EXPIRE <any> <ttl>", "GET <str>")
	ending      = templates("EXEC", "EXEC", "EXEC", "EXEC", "DISCARD", "RESET", "EXEC <val>")

	waiting = templates("BLPOP { <list> } 0", "BRPOP { <list> } 0", "BLPOP <list> 30", "BLMOVE <list> <list> ( LEFT | RIGHT ) ( LEFT | RIGHT ) 0", "BRPOPLPUSH <list> <list> 0",
		"BLMPOP 0 #{ <list> } LEFT [ COUNT <count> ]", "BZPOPMIN { <zset> } 0", "BZPOPMAX { <zset> } 30", "BZMPOP 0 #{ <zset> } MIN", "XREAD BLOCK 0 STREAMS <stream> $",
		"XREADGROUP GROUP <group> <worker> BLOCK 0 STREAMS <stream> >")
	releasing = templates("RPUSH <list> { <val> }", "LPUSH <list> <val>", "ZADD <zset> <score> <member>", "XADD <stream> <id> f v", "XGROUP CREATE <stream> <group> 0 MKSTREAM",
		"DEL <stream>", "RENAME <list> <list>", "LMOVE <list> <list> LEFT LEFT", "SET <list> <val>")
	impatient = templates("BLPOP { <list> } <wait>", "BRPOP { <list> } <wait>", "BLMOVE <list> <list> LEFT RIGHT <wait>", "BRPOPLPUSH <list> <list> <wait>", "BLMPOP <wait> #{ <list> } RIGHT",
		"BZPOPMIN { <zset> } <wait>", "BZPOPMAX <zset> <wait>", "BZMPOP <wait> #{ <zset> } MAX COUNT <count>", "XREAD BLOCK <waitms> STREAMS <stream> $", "XREAD BLOCK <waitms> STREAMS <stream> 0",
		"XREADGROUP GROUP <group> <worker> BLOCK <waitms> STREAMS <stream> >", "BLPOP <list> -1", "BLPOP <list> abc", "BLPOP <list>", "WAIT 0 0", "WAIT 0 10")

	subscribing = templates("SUBSCRIBE { <channel> }", "SUBSCRIBE { <channel> }", "PSUBSCRIBE { <glob> }", "PSUBSCRIBE n*", "SSUBSCRIBE <shard>", "UNSUBSCRIBE [ <channel> ]", "PUNSUBSCRIBE [ <glob> ]",
		"SUNSUBSCRIBE [ <shard> ]", "PING", "PING <val>", "GET <str>", "SUBSCRIBE")
	publishing = templates("PUBLISH <channel> <val>", "PUBLISH <channel> <val>", "SPUBLISH <shard> <val>", "PUBSUB CHANNELS", "PUBSUB NUMSUB { <channel> }", "PUBSUB NUMPAT", "PUBSUB SHARDCHANNELS",
		"PUBSUB SHARDNUMSUB <shard>", "PUBLISH <channel>")
	leaving = [][]string{{"UNSUBSCRIBE"}, {"PUNSUBSCRIBE"}, {"SUNSUBSCRIBE"}}

	plain    = templates("SET <str> <val>", "GET <str>", "INCR <str>", "RPUSH <list> <val>", "MGET { <str!> }", "PING", "LRANGE <list> 0 -1")
	sweeping = templates("HSCAN <hash> 0 [ COUNT <count> ] [ MATCH <glob> ]", "HSCAN <hash> 0 NOVALUES", "SSCAN <set> 0 [ COUNT <count> ] [ MATCH <glob> ]", "ZSCAN <zset> 0 [ MATCH <glob> ]")
	scanning = templates("SCAN 0", "SCAN 0 [ MATCH <glob> ] [ COUNT <count> ] [ TYPE ( string | hash | list | stream | nosuch ) ]", "SCAN abc", "SCAN 0 COUNT", "SCAN 0 NOSUCH 1")
	filling  = templates("HSET <hash> { <field> <val> }", "SADD <set> { <member> }", "ZADD <zset> { <score> <member> }", "SET <str> <val>", "RPUSH <list> <val>")
)

// inside are templates for a transaction: of this sequence's families those whose commands need one slot only.
func (m *maker) inside() []template {
	all := slices.Clone(insideMulti)
	for _, t := range m.simple {
		if !slices.ContainsFunc(notInside, func(f string) bool {
			return slices.ContainsFunc(compiled[f], func(u template) bool { return u.text == t.text })
		}) {
			all = append(all, t)
		}
	}
	if slices.Contains(m.enabled, "blocking") {
		all = append(all, blockInside...)
	}
	if slices.Contains(m.enabled, "scripts") {
		all = append(all, evalInside...)
	}
	return all
}

// notInside: what concerns all nodes runs on one of them in a cluster's transaction; the connection's commands end it or change its replies.
var notInside = []string{"keyspace", "connection", "scripts"}

// transaction is MULTI to EXEC, in one step or in many, perhaps behind WATCH.
func (m *maker) transaction(c int) []Step {
	var commands [][]string
	if m.chance(30) {
		for range 1 + m.IntN(2) {
			commands = append(commands, m.from(watching...))
		}
		if m.chance(30) {
			commands = append(commands, m.from(disturbing...))
		}
	}
	commands = append(commands, []string{"MULTI"})
	inside := m.inside()
	for range m.IntN(6) {
		commands = append(commands, m.from(inside...))
	}
	commands = append(commands, m.from(ending...))
	if last := commands[len(commands)-1]; len(last) != 1 { // refused, so it must still end
		commands = append(commands, []string{"DISCARD"})
	}
	return m.split(c, commands)
}

// split deals commands to steps, so that other clients come between.
func (m *maker) split(c int, commands [][]string) []Step {
	var steps []Step
	for len(commands) > 0 {
		n := 1 + m.IntN(len(commands))
		steps = append(steps, m.cut(Step{Client: c, Commands: commands[:n:n]}))
		commands = commands[n:]
	}
	return steps
}

// blocking has a client wait and another one release it, or one wait for a moment.
func (m *maker) blocking(c int) []Step {
	if m.chance(20) { // seldom: servers look at such clients ten times a second
		return []Step{{Client: c, Commands: [][]string{m.from(impatient...)}}}
	}
	// Alone: a command before it could release a client, and then the number of waiting ones does not tell whether it blocks.
	steps := []Step{{Client: c, Commands: [][]string{m.from(waiting...)}, Blocks: true}}
	for range 1 + m.IntN(3) {
		steps = append(steps, Step{Client: c, Commands: [][]string{m.from(releasing...)}})
	}
	return steps
}

// subscription is a client that listens for a while, or one that publishes.
func (m *maker) subscription(c int) []Step {
	if m.chance(60) {
		return m.split(c, [][]string{m.from(publishing...), m.from(publishing...)})
	}
	var commands [][]string
	for range 1 + m.IntN(5) {
		commands = append(commands, m.from(subscribing...))
	}
	if m.chance(30) {
		return m.split(c, append(commands, []string{"RESET"}))
	}
	return m.split(c, append(commands, leaving...))
}

// replyMode silences replies within one step: the end of the next one could not be seen.
func (m *maker) replyMode(c int) []Step {
	s := Step{Client: c, Commands: [][]string{{"CLIENT", "REPLY", "SKIP"}}}
	if m.chance(60) {
		s.Commands[0] = []string{"CLIENT", "REPLY", "OFF"}
		for range m.IntN(4) {
			s.Commands = append(s.Commands, m.from(plain...))
		}
		s.Commands = append(s.Commands, []string{"CLIENT", "REPLY", "ON"})
	}
	for range 1 + m.IntN(3) {
		s.Commands = append(s.Commands, m.from(plain...))
	}
	return []Step{m.cut(s)}
}

func (m *maker) sweep(c int) []Step { return m.fillAndSweep(c, sweeping) }
func (m *maker) scan(c int) []Step  { return m.fillAndSweep(c, scanning) }

func (m *maker) fillAndSweep(c int, how []template) []Step {
	fill := Step{Client: c, Commands: [][]string{m.from(filling...), m.from(filling...)}}
	if m.chance(10) { // more than a small encoding holds
		big := []string{"SADD", m.key("set", false)}
		for i := range 600 {
			big = append(big, "member"+strconv.Itoa(i))
		}
		fill.Commands = append(fill.Commands, big)
	}
	return []Step{fill, {Client: c, Commands: [][]string{m.from(how...)}, Sweep: true}}
}

// tracking turns client-side caching on, and reads what others write.
func (m *maker) tracking(c int) []Step {
	on := []string{"CLIENT", "TRACKING", m.one("ON", "ON", "ON", "maybe")}
	if on[2] == "ON" && m.chance(50) {
		on = append(on, m.one("NOLOOP", "OPTIN", "NOSUCH"))
	}
	return m.split(c, [][]string{on, m.from(plain...), m.from(plain...), m.from(disturbing...)})
}
