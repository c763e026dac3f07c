package config

import (
	"net/netip"
	"os"
	"time"
)

// Config is a complete, checked configuration. It is not changed after Load.
type Config struct {
	Cluster  Cluster
	Listen   Listen
	Admin    Admin
	HTTP     HTTP
	Loops    Loops
	Upstream Upstream
	Limits   Limits
	Migrate  Migrate
	Drain    Drain
	Log      Log

	// Warnings are things that are allowed and probably not meant, to be logged at start.
	Warnings []string

	origins map[string]string // setting key -> "file:line:col", "--flag" or "env NAME"; absent for a default
}

// Cluster says where the cluster is and how the proxy itself talks to it.
type Cluster struct {
	Seeds      []string // host:port
	User       string   // of the control plane; empty: the default user
	Password   Secret
	TLS        NodeTLS
	Refresh    time.Duration
	Timeout    time.Duration // of one question of the control plane
	NodeMap    map[string]string
	AllowCIDRs []netip.Prefix

	passwordFile string
}

// NodeTLS is TLS from the proxy to the nodes.
type NodeTLS struct {
	On                 bool
	CA, Cert, Key      string // files
	ServerName         string
	InsecureSkipVerify bool
}

// Listen is where clients connect to.
type Listen struct {
	TCP           []string // host:port
	TLS           []string // host:port
	Unix          string   // path, empty: none
	UnixMode      os.FileMode
	Cert, Key     string // files
	ClientCA      string // file
	ClientAuth    string // AuthNone, AuthOptional or AuthRequire
	ProtectedMode bool
}

// Values of Listen.ClientAuth.
const (
	AuthNone     = "none"
	AuthOptional = "optional"
	AuthRequire  = "require"
)

// Admin is the admin listener.
type Admin struct {
	Address          string // host:port, unix:/path, or empty for none
	SocketMode       os.FileMode
	Password         Secret // of the user admin
	OperatorPassword Secret // of the user operator; empty: there is none
	ViewerPassword   Secret // of the user viewer; empty: there is none

	FromClients string // ProxyCommandsOff or ProxyCommandsRead

	passwordFile, operatorFile, viewerFile string
}

// What clients of the data port may ask with PROXY: nothing, or what only looks.
const (
	ProxyCommandsOff  = "off"
	ProxyCommandsRead = "read"
)

// HTTP is the listener for metrics and health.
type HTTP struct {
	Address  string // host:port, or empty for none
	PProf    bool
	MinSlots int // slots that must be served for /readyz
}

// Loops sizes the data path.
type Loops struct {
	Count int // never 0 after Load
	Lanes int
}

// Upstream is about commands on their way to nodes.
type Upstream struct {
	ConnectTimeout time.Duration
	Timeout        time.Duration // for the reply to one command
	RedirectBudget time.Duration
	MaxRedirects   int
	MaxLeases      int
	DebugSleep     bool
	CrossSlot      string // CrossSlotStrict or CrossSlotEmulate
	EmulateBytes   int
	NodeQueue      int // bytes
}

// Values of Upstream.CrossSlot.
const (
	CrossSlotStrict  = "strict"
	CrossSlotEmulate = "emulate"
)

// Request bounds what one client may send.
type Request struct {
	Args, Bulk, Inline, Query int
}

// Limits bounds clients and memory.
type Limits struct {
	MaxClients    int
	Idle          time.Duration // 0: none
	FirstCommand  time.Duration
	FrameStall    time.Duration
	WriteStall    time.Duration
	AuthFailures  int
	BeforeAuth    Request
	AfterAuth     Request
	InFlight      int
	OutLow        int // bytes
	OutHard       int // bytes
	OutBeforeAuth int // bytes
	BufferBudget  int // bytes; never 0 after Load
}

// Migrate is about moving slots.
type Migrate struct {
	StateDir     string // NoState for no coordinator; never empty after Load
	Engine       string // MigrateAuto, MigrateAtomic or MigrateLegacy
	HoldBudget   time.Duration
	Parallel     int
	MaxKeys      int           // a second; 0: no bound
	MaxBytes     int           // a second; 0: no bound
	LatencyLimit time.Duration // 0: from what it was before
}

// Values of Migrate.Engine.
const (
	MigrateAuto   = "auto"
	MigrateAtomic = "atomic"
	MigrateLegacy = "legacy"
)

// NoState is the Migrate.StateDir of a proxy without a coordinator.
const NoState = "none"

// Drain is how the proxy goes away.
type Drain struct {
	Delay, Spread, Timeout time.Duration
}

// Log is what is logged and how.
type Log struct {
	Level  string // debug, info, warn or error
	Format string // auto, text, logfmt or json
}

// Secret is a password. It prints as ***, whatever prints it; convert it to a string to use it.
type Secret string

const masked = "***"

// String hides the secret.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return masked
}

// GoString hides the secret from %#v.
func (s Secret) GoString() string { return `"` + s.String() + `"` }

// MarshalText hides the secret from encoders.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }
