package proxy

import (
	"strconv"
	"strings"
)

// release is the maker and version of the cluster's servers: words and fields differ between them, and clients are to
// find those of the server that they believe to speak to.
type release struct {
	redis        bool
	major, minor int
}

func (p *Proxy) release() release {
	face := p.cfg.Info()
	major, rest, _ := strings.Cut(face.Version, ".")
	minor, _, _ := strings.Cut(rest, ".")
	r := release{redis: face.Name == "redis"}
	r.major, _ = strconv.Atoi(major) // 0 for a version of another form: then it counts as old
	r.minor, _ = strconv.Atoi(minor)
	return r
}

// valkey says that the servers are Valkey of this version or later.
func (r release) valkey(major, minor int) bool {
	return !r.redis && (r.major > major || r.major == major && r.minor >= minor)
}

// since says that the servers are Valkey of any version, or Redis of this one or later.
func (r release) since(major, minor int) bool {
	return !r.redis || r.major > major || r.major == major && r.minor >= minor
}
