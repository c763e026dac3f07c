package router

import (
	"bytes"
	"errors"
	"strings"
)

// Bounds of a COMMAND reply; Valkey 9.1 has 400 commands with their sub-commands in 96 KiB, nested 9 deep.
const (
	maxCommandReply = 4 << 20
	maxDepth        = 16
	maxCommands     = 10_000 // sub-commands count
	maxName         = 64     // bytes of a command name
	maxSpecs        = 16     // key specifications of one command
)

var (
	errReplyFraming = errors.New("broken framing")
	errReplyShape   = errors.New("unexpected shape")
	errReplyBound   = errors.New("too large")
)

// commandInfo is one entry of a COMMAND reply.
type commandInfo struct {
	name  string // lower case
	arity int
	flags Flags
	specs []keySpec
	vague bool // a specification is unknown or incomplete: the keys are not known from the specs alone
	subs  []commandInfo
}

func parseCommandReply(raw []byte) ([]commandInfo, error) {
	if len(raw) > maxCommandReply {
		return nil, errReplyBound
	}
	p := replyParser{rest: raw}
	top, err := p.value(0)
	if err != nil {
		return nil, err
	}
	if len(p.rest) > 0 {
		return nil, errReplyFraming
	}
	if top.kind != '*' || len(top.items) == 0 {
		return nil, errReplyShape
	}
	count := 0
	return commandInfos(top.items, &count)
}

func commandInfos(items []replyValue, count *int) ([]commandInfo, error) {
	infos := make([]commandInfo, 0, len(items))
	for i := range items {
		if *count++; *count > maxCommands {
			return nil, errReplyBound
		}
		info, err := newCommandInfo(items[i].items, count)
		if err != nil {
			return nil, err
		}
		infos = append(infos, info)
	}
	return infos, nil
}

// Fields of one command in the reply. Servers before 7.0 end after the categories.
const (
	fieldName  = 0
	fieldArity = 1
	fieldFlags = 2
	fieldSpecs = 8
	fieldSubs  = 9
)

func newCommandInfo(f []replyValue, count *int) (commandInfo, error) {
	if len(f) <= fieldSubs || f[fieldName].kind != '$' || f[fieldArity].kind != ':' {
		return commandInfo{}, errReplyShape
	}
	name := strings.ToLower(f[fieldName].text)
	if name == "" || len(name) > maxName || f[fieldArity].num == 0 {
		return commandInfo{}, errReplyShape
	}
	info := commandInfo{name: name, arity: f[fieldArity].num}
	for _, flag := range f[fieldFlags].items {
		info.flags |= flagNames[strings.ToLower(flag.text)]
	}
	specs := f[fieldSpecs].items
	if len(specs) > maxSpecs {
		return commandInfo{}, errReplyBound
	}
	for i := range specs {
		spec, vague := newKeySpec(&specs[i])
		info.specs = append(info.specs, spec)
		info.vague = info.vague || vague
	}
	var err error
	if len(f[fieldSubs].items) > 0 {
		info.subs, err = commandInfos(f[fieldSubs].items, count)
	}
	return info, err
}

// newKeySpec reads one specification. What it does not understand, or what would make the search go wrong, is unknown.
func newKeySpec(v *replyValue) (spec keySpec, vague bool) {
	for _, flag := range v.get("flags").items {
		vague = vague || strings.EqualFold(flag.text, "incomplete")
	}
	begin, find := v.get("begin_search"), v.get("find_keys")
	at := begin.get("spec")
	switch begin.get("type").text {
	case "index":
		spec.begin, spec.index = beginIndex, at.get("index").num
	case "keyword":
		spec.begin, spec.index = beginKeyword, at.get("startfrom").num
		spec.keyword = strings.ToLower(at.get("keyword").text)
	}
	how := find.get("spec")
	switch find.get("type").text {
	case "range":
		spec.find, spec.lastKey = findRange, how.get("lastkey").num
		spec.step, spec.limit = how.get("keystep").num, how.get("limit").num
	case "keynum":
		spec.find, spec.numIdx = findKeynum, how.get("keynumidx").num
		spec.first, spec.step = how.get("firstkey").num, how.get("keystep").num
	}
	sound := spec.step >= 1 && spec.first >= 0 && spec.numIdx >= 0 &&
		(spec.begin == beginIndex && spec.index >= 1 || spec.begin == beginKeyword && spec.index != 0 && spec.keyword != "")
	if !sound {
		spec = keySpec{}
	}
	return spec, vague || spec.begin == beginUnknown || spec.find == findUnknown
}

// replyValue is one RESP2 value. The zero value stands for an absent one.
type replyValue struct {
	kind  byte // '*' '$' ':'; simple strings count as '$', nulls are 0
	num   int
	text  string
	items []replyValue
}

// get returns the value behind a name in an array of names and values.
func (v *replyValue) get(name string) *replyValue {
	for i := 0; i+1 < len(v.items); i += 2 {
		if v.items[i].text == name {
			return &v.items[i+1]
		}
	}
	return &replyValue{}
}

// replyParser reads RESP2. The depth bounds the recursion, the length of the input everything else.
type replyParser struct{ rest []byte }

func (p *replyParser) value(depth int) (replyValue, error) {
	end := bytes.Index(p.rest, []byte("\r\n"))
	if end < 1 || depth > maxDepth {
		return replyValue{}, errReplyFraming
	}
	kind, head := p.rest[0], p.rest[1:end]
	p.rest = p.rest[end+2:]
	if kind == '+' {
		return replyValue{kind: '$', text: string(head)}, nil
	}
	n, ok := parseInt(head)
	if !ok {
		return replyValue{}, errReplyFraming
	}
	switch kind {
	case ':':
		return replyValue{kind: ':', num: n}, nil
	case '$':
		return p.bulk(n)
	case '*':
		return p.array(n, depth)
	}
	return replyValue{}, errReplyFraming
}

func (p *replyParser) bulk(n int) (replyValue, error) {
	if n == -1 {
		return replyValue{}, nil
	}
	if n < 0 || n > len(p.rest)-2 || p.rest[n] != '\r' || p.rest[n+1] != '\n' {
		return replyValue{}, errReplyFraming
	}
	v := replyValue{kind: '$', text: string(p.rest[:n])}
	p.rest = p.rest[n+2:]
	return v, nil
}

func (p *replyParser) array(n, depth int) (replyValue, error) {
	if n == -1 {
		return replyValue{}, nil
	}
	// The shortest item is ":0" with its line end.
	if n < 0 || n > len(p.rest)/4 {
		return replyValue{}, errReplyFraming
	}
	v := replyValue{kind: '*', items: make([]replyValue, 0, min(n, 16))}
	for range n {
		item, err := p.value(depth + 1)
		if err != nil {
			return replyValue{}, err
		}
		v.items = append(v.items, item)
	}
	return v, nil
}

// parseInt reads a decimal number of at most nine digits, more than anything in a COMMAND reply needs.
func parseInt(b []byte) (int, bool) {
	sign := 1
	if len(b) > 0 && b[0] == '-' {
		sign, b = -1, b[1:]
	}
	if len(b) == 0 || len(b) > 9 {
		return 0, false
	}
	n := 0
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int(c-'0')
	}
	return sign * n, true
}
