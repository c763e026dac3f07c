package admin

import (
	"crypto/sha256"
	"crypto/subtle"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// maxFailures ends a session: a person mistypes less often, a script reconnects
	// and meets failureRate.
	maxFailures = 5

	// failureRate is how many failed logins a second one host has for free; above
	// it passwords are not even compared. A million a day guess no good password.
	failureRate = 10

	// maxHosts bounds the record of failures. A host is forgotten a second after
	// its last one; hosts beyond the bound share one record.
	maxHosts = 1024
)

// secret is a password. Only its digest is kept: digests have one length, so the
// time of a comparison tells nothing.
type secret struct {
	digest atomic.Pointer[[sha256.Size]byte] // nil: no password is needed
}

func (s *secret) set(password string) {
	if password == "" {
		s.digest.Store(nil)
		return
	}
	digest := sha256.Sum256([]byte(password))
	s.digest.Store(&digest)
}

func (s *secret) needed() bool { return s.digest.Load() != nil }

// matches is true for any password when none is needed, as for a user with nopass.
func (s *secret) matches(password string) bool {
	want := s.digest.Load()
	if want == nil {
		return true
	}
	got := sha256.Sum256([]byte(password))
	return subtle.ConstantTimeCompare(got[:], want[:]) == 1
}

// The users of the admin port. A user is its role.
const (
	userDefault  = "default" // whom AUTH with a password alone means: userAdmin
	userAdmin    = "admin"
	userOperator = "operator"
	userViewer   = "viewer"
)

// role is what a caller may do; a higher one includes the lower.
type role uint8

const (
	viewer   role = iota // looks
	operator             // moves slots
	admin                // changes what the cluster consists of
)

func (r role) String() string { return [...]string{userViewer, userOperator, userAdmin}[r] }

// users are the passwords by role. Only the admin's may be missing while there are others to ask for: it is what says
// whether a login is needed at all.
type users struct{ secrets [admin + 1]secret }

func (u *users) set(adminPassword, operatorPassword, viewerPassword string) {
	u.secrets[admin].set(adminPassword)
	u.secrets[operator].set(operatorPassword)
	u.secrets[viewer].set(viewerPassword)
}

// needed says whether strangers must log in.
func (u *users) needed() bool { return u.secrets[admin].needed() }

// check returns the role that a user has with a password. Where no login is needed, the user admin is whoever comes:
// guest.
func (u *users) check(user, password string, guest role) (role, bool) {
	switch user {
	case userDefault, userAdmin:
		if !u.needed() {
			return guest, true
		}
		return admin, u.secrets[admin].matches(password)
	case userOperator:
		return operator, u.secrets[operator].needed() && u.secrets[operator].matches(password)
	case userViewer:
		return viewer, u.secrets[viewer].needed() && u.secrets[viewer].matches(password)
	}
	return viewer, false
}

// guestRole is what a caller is without a password: who is on this machine could read the proxy's memory as well,
// others only look, even where protected mode was turned off.
func guestRole(addr net.Addr) role {
	if tcp, ok := addr.(*net.TCPAddr); ok && !tcp.IP.IsLoopback() {
		return viewer
	}
	return admin
}

// failures counts failed logins by host, as buckets that refill with failureRate.
type failures struct {
	now func() time.Time // immutable

	mu    sync.Mutex
	hosts map[string]bucket // guarded by mu
}

type bucket struct {
	left float64
	at   time.Time // when left was true
}

func newFailures(now func() time.Time) *failures {
	return &failures{now: now, hosts: map[string]bucket{}}
}

// allowed tells whether a host may try a password.
func (f *failures) allowed(host string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.bucketLocked(f.keyLocked(host)).left >= 1
}

// add notes a failed login.
func (f *failures) add(host string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	key := f.keyLocked(host)
	b := f.bucketLocked(key)
	b.left = max(b.left-1, 0)
	f.hosts[key] = b
}

// bucketLocked is a host's bucket as it is now.
func (f *failures) bucketLocked(key string) bucket {
	now := f.now()
	b, known := f.hosts[key]
	if !known {
		return bucket{failureRate, now}
	}
	return bucket{min(b.left+now.Sub(b.at).Seconds()*failureRate, failureRate), now}
}

// keyLocked is the name under which a host is recorded: "" for all that come when
// the record is full.
func (f *failures) keyLocked(host string) string {
	if _, known := f.hosts[host]; known || len(f.hosts) < maxHosts {
		return host
	}
	for key := range f.hosts {
		if f.bucketLocked(key).left == failureRate {
			delete(f.hosts, key)
		}
	}
	if len(f.hosts) < maxHosts {
		return host
	}
	return ""
}

// hostOf is the part of an address that a client cannot choose freely. All clients
// of a unix socket are one host.
func hostOf(addr net.Addr) string {
	if tcp, ok := addr.(*net.TCPAddr); ok {
		return tcp.IP.String()
	}
	return "unix"
}
