package config

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

// shape is how a value is written in YAML.
type shape uint8

const (
	scalar shape = iota
	list
	mapping
)

// value is one setting inside a Config. set takes it from a text; lists and maps take all their items at once, so that
// a source replaces what a weaker source said and does not add to it. text gives it back, in a form that set takes.
type value interface {
	shape() shape
	set(items []string) error
	text() string
	items() []string // of a list or map; a map's are "key=value"
	what() string    // the type, for people
}

// single is the part that all scalars share.
type single struct{}

func (single) shape() shape    { return scalar }
func (single) items() []string { return nil }

type boolValue struct {
	single
	p *bool
}

func (v boolValue) what() string { return "true or false" }
func (v boolValue) text() string { return strconv.FormatBool(*v.p) }
func (v boolValue) set(items []string) error {
	switch items[0] {
	case "true":
		*v.p = true
	case "false":
		*v.p = false
	default:
		return fmt.Errorf("want true or false, got %q", items[0])
	}
	return nil
}

type intValue struct {
	single
	p        *int
	min, max int
}

func (v intValue) what() string { return fmt.Sprintf("number %d-%d", v.min, v.max) }
func (v intValue) text() string { return strconv.Itoa(*v.p) }
func (v intValue) set(items []string) error {
	n, err := strconv.Atoi(items[0])
	if err != nil || n < v.min || n > v.max {
		return fmt.Errorf("want a whole number from %d to %d, got %q", v.min, v.max, items[0])
	}
	*v.p = n
	return nil
}

// durationValue takes Go's durations. A bare 0 is the only number without a unit: it means "off" or "at once".
type durationValue struct {
	single
	p        *time.Duration
	min, max time.Duration
}

func (v durationValue) what() string {
	return fmt.Sprintf("duration %s-%s", durationText(v.min), durationText(v.max))
}
func (v durationValue) text() string { return durationText(*v.p) }
func (v durationValue) set(items []string) error {
	s := items[0]
	d, err := time.ParseDuration(s)
	if err != nil {
		if _, bare := strconv.ParseFloat(s, 64); bare == nil {
			return fmt.Errorf("needs a unit: write %ss or %sms, not %s", s, s, s)
		}
		return fmt.Errorf("want a duration such as 500ms, 5s or 1m30s, got %q", s)
	}
	if d < v.min || d > v.max {
		return fmt.Errorf("want a duration from %s to %s, got %s", durationText(v.min), durationText(v.max), s)
	}
	*v.p = d
	return nil
}

// durationText is Duration.String without its zero minutes and seconds: 5m, not 5m0s.
func durationText(d time.Duration) string {
	if d == 0 {
		return "0"
	}
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

var sizeUnits = []struct {
	name string
	size int64
}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"B", 1}}

type sizeValue struct {
	single
	p        *int
	min, max int64
}

func (v sizeValue) what() string { return fmt.Sprintf("size %s-%s", sizeText(v.min), sizeText(v.max)) }
func (v sizeValue) text() string { return sizeText(int64(*v.p)) }
func (v sizeValue) set(items []string) error {
	n, err := parseSize(items[0])
	if err != nil {
		return err
	}
	if n < v.min || n > v.max {
		return fmt.Errorf("want a size from %s to %s, got %s", sizeText(v.min), sizeText(v.max), items[0])
	}
	*v.p = int(n)
	return nil
}

func parseSize(s string) (int64, error) {
	digits := strings.TrimRight(s, "BKMGTPikmgtpb")
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || n < 0 {
		return 0, fmt.Errorf("want a size such as 64KiB, 8MiB or 1GiB, got %q", s)
	}
	unit := s[len(digits):]
	for _, u := range sizeUnits {
		if unit != u.name {
			continue
		}
		if n > math.MaxInt64/u.size {
			return 0, fmt.Errorf("%s is too large", s)
		}
		return n * u.size, nil
	}
	if n == 0 && unit == "" {
		return 0, nil
	}
	if unit == "" {
		return 0, fmt.Errorf("needs a unit: write %sB, %sKiB or %sMiB, not %s", s, s, s, s)
	}
	return 0, fmt.Errorf("unit %q is not known: use B, KiB, MiB or GiB", unit)
}

func sizeText(n int64) string {
	if n == 0 {
		return "0"
	}
	for _, u := range sizeUnits {
		if n%u.size == 0 {
			return strconv.FormatInt(n/u.size, 10) + u.name
		}
	}
	return ""
}

// stringValue is any text; check may be nil. An empty text is always allowed: it is the way to unset.
type stringValue struct {
	single
	p     *string
	kind  string
	check func(string) error
}

func (v stringValue) what() string { return v.kind }
func (v stringValue) text() string { return *v.p }
func (v stringValue) set(items []string) error {
	if v.check != nil && items[0] != "" {
		if err := v.check(items[0]); err != nil {
			return err
		}
	}
	*v.p = items[0]
	return nil
}

type enumValue struct {
	single
	p       *string
	allowed []string
}

func (v enumValue) what() string { return strings.Join(v.allowed, ", ") }
func (v enumValue) text() string { return *v.p }
func (v enumValue) set(items []string) error {
	if slices.Contains(v.allowed, items[0]) {
		*v.p = items[0]
		return nil
	}
	return fmt.Errorf("want one of %s, got %q%s", v.what(), items[0], didYouMean(items[0], v.allowed))
}

type secretValue struct {
	single
	p *Secret
}

func (v secretValue) what() string             { return "secret" }
func (v secretValue) text() string             { return v.p.String() }
func (v secretValue) set(items []string) error { *v.p = Secret(items[0]); return nil }

type modeValue struct {
	single
	p *os.FileMode
}

func (v modeValue) what() string { return "octal file mode" }
func (v modeValue) text() string { return fmt.Sprintf("%#o", uint32(*v.p)) }
func (v modeValue) set(items []string) error {
	n, err := strconv.ParseUint(strings.TrimPrefix(items[0], "0o"), 8, 32)
	if err != nil || n > 0o777 {
		return fmt.Errorf("want a file mode in octal such as 0660, got %q", items[0])
	}
	*v.p = os.FileMode(n)
	return nil
}

// listValue is a list of texts. maxItems bounds every list and map: enough for each node of a large cluster.
type listValue struct {
	p     *[]string
	kind  string
	check func(string) error
}

const maxItems = 1024

func (v listValue) shape() shape    { return list }
func (v listValue) what() string    { return "list of " + v.kind }
func (v listValue) items() []string { return *v.p }
func (v listValue) text() string    { return strings.Join(*v.p, ",") }
func (v listValue) set(items []string) error {
	if len(items) > maxItems {
		return fmt.Errorf("has %d items, at most %d are allowed", len(items), maxItems)
	}
	for _, s := range items {
		if err := v.check(s); err != nil {
			return err
		}
	}
	*v.p = slices.Clone(items)
	return nil
}

type prefixesValue struct{ p *[]netip.Prefix }

func (v prefixesValue) shape() shape { return list }
func (v prefixesValue) what() string { return "list of networks" }
func (v prefixesValue) text() string { return strings.Join(v.items(), ",") }
func (v prefixesValue) items() []string {
	var texts []string
	for _, p := range *v.p {
		texts = append(texts, p.String())
	}
	return texts
}
func (v prefixesValue) set(items []string) error {
	if len(items) > maxItems {
		return fmt.Errorf("has %d items, at most %d are allowed", len(items), maxItems)
	}
	var prefixes []netip.Prefix
	for _, s := range items {
		p, err := netip.ParsePrefix(s)
		if err != nil {
			return fmt.Errorf("want a network such as 10.0.0.0/8, got %q", s)
		}
		prefixes = append(prefixes, p.Masked())
	}
	*v.p = prefixes
	return nil
}

// mapValue maps addresses to addresses.
type mapValue struct{ p *map[string]string }

func (v mapValue) shape() shape { return mapping }
func (v mapValue) what() string { return "map of host:port to host:port" }
func (v mapValue) text() string { return strings.Join(v.items(), ",") }
func (v mapValue) items() []string {
	var texts []string
	for _, k := range slices.Sorted(maps.Keys(*v.p)) {
		texts = append(texts, k+"="+(*v.p)[k])
	}
	return texts
}
func (v mapValue) set(items []string) error {
	if len(items) > maxItems {
		return fmt.Errorf("has %d items, at most %d are allowed", len(items), maxItems)
	}
	m := make(map[string]string, len(items))
	for _, item := range items {
		from, to, ok := strings.Cut(item, "=")
		if !ok {
			return fmt.Errorf("want host:port=host:port, got %q", item)
		}
		if err := errors.Join(checkAddr(from), checkAddr(to)); err != nil {
			return err
		}
		if _, twice := m[from]; twice {
			return fmt.Errorf("%s is mapped twice", from)
		}
		m[from] = to
	}
	*v.p = m
	return nil
}

// checkAddr accepts host:port with a port that can be dialled.
func checkAddr(s string) error {
	host, port, err := net.SplitHostPort(s)
	if err != nil || host == "" {
		return fmt.Errorf("want host:port, got %q", s)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return fmt.Errorf("want a port from 1 to 65535 in %q", s)
	}
	return nil
}

// checkListen accepts host:port to listen on: the host may be empty (every address), the port 0 (any free one).
func checkListen(s string) error {
	_, port, err := net.SplitHostPort(s)
	if err != nil {
		return fmt.Errorf("want host:port, got %q", s)
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return fmt.Errorf("want a port from 0 to 65535 in %q", s)
	}
	return nil
}

// checkAdmin accepts what checkListen does, and unix:/path.
func checkAdmin(s string) error {
	if path, ok := strings.CutPrefix(s, "unix:"); ok {
		return checkPath(path)
	}
	return checkListen(s)
}

// sun_path holds 108 bytes with its terminator on Linux and 104 on the BSDs.
const maxSocketPath = 103

func checkPath(s string) error {
	if !strings.HasPrefix(s, "/") {
		return fmt.Errorf("want an absolute path, got %q", s)
	}
	if len(s) > maxSocketPath {
		return fmt.Errorf("the path has %d bytes, a socket's may have %d", len(s), maxSocketPath)
	}
	return nil
}

// checkState accepts an absolute path, and NoState.
func checkState(s string) error {
	if s != NoState && !strings.HasPrefix(s, "/") {
		return fmt.Errorf("want an absolute path or %s, got %q", NoState, s)
	}
	return nil
}
