package config

import (
	"errors"
	"fmt"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// maxFile bounds the configuration file; the complete one with all its comments has 20 KiB.
const maxFile = 1 << 20

// entry is what a source says about one setting.
type entry struct {
	key   string
	items []string // one for a scalar, all for a list, "key=value" each for a map
	where string
}

// Problem is one mistake in the configuration.
type Problem struct {
	Where string // "file:line:col", "--flag" or "SLOTPROXY_NAME"
	Text  string
}

func (p *Problem) Error() string { return p.Where + ": " + p.Text }

// document reads the strict YAML that a configuration is written in: one mapping of known keys to plain values. It
// finds as many mistakes as it can.
type document struct {
	name    string
	entries []entry
	errs    []error
}

func parseYAML(name string, text []byte) ([]entry, error) {
	d := &document{name: name}
	file, err := parse(text)
	if err != nil {
		return nil, d.syntax(err)
	}
	d.file(file)
	return d.entries, errors.Join(d.errs...)
}

// parse turns a panic of the YAML library into an error: a mistake in a file must not look like a crash, least of all at
// a reload.
func parse(text []byte) (file *ast.File, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("this is not YAML: %v", r)
		}
	}()
	if i := strings.IndexByte(string(text), 0); i >= 0 {
		return nil, errors.New("this is not YAML: it holds a zero byte")
	}
	// Duplicate keys are found below, with both positions.
	return parser.ParseBytes(text, 0, parser.AllowDuplicateMapKey())
}

func (d *document) syntax(err error) error {
	var at yaml.Error
	if errors.As(err, &at) && at.GetToken() != nil {
		return d.problem(at.GetToken(), "%s", at.GetMessage())
	}
	return &Problem{d.name, err.Error()}
}

func (d *document) problem(t *token.Token, format string, args ...any) error {
	return &Problem{d.where(t), fmt.Sprintf(format, args...)}
}

func (d *document) where(t *token.Token) string {
	if t == nil || t.Position == nil {
		return d.name
	}
	return fmt.Sprintf("%s:%d:%d", d.name, t.Position.Line, t.Position.Column)
}

func (d *document) fail(t *token.Token, format string, args ...any) {
	d.errs = append(d.errs, d.problem(t, format, args...))
}

func (d *document) file(f *ast.File) {
	var docs []*ast.DocumentNode
	for _, doc := range f.Docs {
		if doc.Body != nil && doc.Body.Type() != ast.CommentType {
			docs = append(docs, doc)
		}
	}
	switch {
	case len(docs) == 0:
		d.errs = append(d.errs, &Problem{d.name + ":1:1", "the document is empty; slotproxy config print --defaults shows a full one"})
	case len(docs) > 1:
		d.fail(docs[1].Body.GetToken(), "a second document; only one is read")
	default:
		d.body(docs[0].Body)
	}
}

func (d *document) body(n ast.Node) {
	var pairs []*ast.MappingValueNode
	switch n := n.(type) {
	case *ast.MappingNode:
		pairs = n.Values
	case *ast.MappingValueNode:
		pairs = []*ast.MappingValueNode{n}
	default:
		d.fail(n.GetToken(), "want lines such as max_clients: 1000, got %s", describe(n))
		return
	}
	seen := make(map[string]*token.Token)
	for _, p := range pairs {
		d.pair(p, seen)
	}
}

func (d *document) pair(p *ast.MappingValueNode, seen map[string]*token.Token) {
	t := p.Key.GetToken()
	key, ok := scalarText(p.Key)
	if !ok {
		d.fail(t, "%s cannot be a key", describe(p.Key))
		return
	}
	s := find(key)
	if s == nil {
		d.fail(t, "unknown key %q%s", key, didYouMean(key, keys()))
		return
	}
	if first := seen[key]; first != nil {
		d.fail(t, "%s is set twice; first at %s", key, d.where(first))
		return
	}
	seen[key] = t
	items, at, err := itemsOf(p.Value, s.at(new(Config)).shape())
	if p.Value.Type() == ast.NullType {
		at = t // nothing has no place of its own
	}
	if err != nil {
		d.fail(at, "%s: %v", key, err)
		return
	}
	d.entries = append(d.entries, entry{key, items, d.where(p.Value.GetToken())})
}

// itemsOf reads a value of the given shape. A list of one may be written as a scalar.
func itemsOf(n ast.Node, want shape) (items []string, at *token.Token, err error) {
	at = n.GetToken()
	if text, ok := scalarText(n); ok && want != mapping {
		if want == list {
			return splitItems(text), at, nil
		}
		return []string{text}, at, nil
	}
	switch n := n.(type) {
	case *ast.NullNode:
		return nil, at, errors.New(`has no value; leave the line out for the default, or write "" for none`)
	case *ast.SequenceNode:
		if want == list {
			return sequence(n)
		}
	case *ast.MappingNode:
		if want == mapping {
			return pairItems(n.Values)
		}
	case *ast.MappingValueNode:
		if want == mapping {
			return pairItems([]*ast.MappingValueNode{n})
		}
	}
	return nil, at, fmt.Errorf("want %s, got %s", [...]string{"one value", "a list", "a mapping"}[want], describe(n))
}

func sequence(n *ast.SequenceNode) (items []string, at *token.Token, err error) {
	for _, v := range n.Values {
		text, ok := scalarText(v)
		if !ok {
			return nil, v.GetToken(), fmt.Errorf("want one value in each line of the list, got %s", describe(v))
		}
		items = append(items, text)
	}
	return items, n.GetToken(), nil
}

func pairItems(pairs []*ast.MappingValueNode) (items []string, at *token.Token, err error) {
	for _, p := range pairs {
		from, ok := scalarText(p.Key)
		to, ok2 := scalarText(p.Value)
		if !ok || !ok2 {
			return nil, p.Key.GetToken(), errors.New("want lines such as announced:6379: dialled:6379")
		}
		items = append(items, from+"="+to)
	}
	return items, nil, nil
}

// scalarText is a plain or quoted value as it is written: numbers and modes keep their spelling.
func scalarText(n ast.Node) (string, bool) {
	switch n := n.(type) {
	case *ast.StringNode:
		return n.Value, true
	case *ast.BoolNode, *ast.IntegerNode, *ast.FloatNode, *ast.InfinityNode, *ast.NanNode:
		return n.GetToken().Value, true
	}
	return "", false
}

func describe(n ast.Node) string {
	switch n.(type) {
	case *ast.SequenceNode:
		return "a list"
	case *ast.MappingNode, *ast.MappingValueNode:
		return "a mapping"
	case *ast.NullNode:
		return "nothing"
	case *ast.AliasNode, *ast.AnchorNode, *ast.MergeKeyNode:
		return "an anchor or alias, which are not used here"
	case *ast.TagNode:
		return "a tag, which are not used here"
	case *ast.LiteralNode:
		return "a block of text"
	}
	return "one value"
}

// splitItems separates what flags, variables and scalars in place of lists put behind one another.
func splitItems(text string) []string {
	var items []string
	for item := range strings.SplitSeq(text, ",") {
		if item = strings.TrimSpace(item); item != "" {
			items = append(items, item)
		}
	}
	return items
}
