package test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"slotproxy/internal/testcluster"
	"slotproxy/test/storm"
	"slotproxy/test/wire"
)

func newTLSFiles(t *testing.T) (*testcluster.TLSFiles, *tls.Config) {
	t.Helper()
	files, err := testcluster.NewTLSFiles(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := files.ClientConfig()
	if err != nil {
		t.Fatal(err)
	}
	cfg.ServerName = "localhost"
	return files, cfg
}

// startTLSProxy adds a TLS listener to a proxy and returns its address.
func startTLSProxy(t *testing.T, seeds []string, files *testcluster.TLSFiles, args ...string) (*proxy, string) {
	t.Helper()
	addr := freePorts(t, 1)[0]
	args = append([]string{"--listen-tls", addr, "--tls-cert", files.Cert, "--tls-key", files.Key, "--tls-client-ca", files.CA}, args...)
	return startProxy(t, seeds, args...), addr
}

func dialTLS(t *testing.T, addr string, cfg *tls.Config) *wire.Conn {
	t.Helper()
	c, err := wire.DialTLS(addr, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func TestClientsAreServedOverTLS(t *testing.T) {
	files, cfg := newTLSFiles(t)
	_, addr := startTLSProxy(t, sharedCluster(t, testcluster.NeedNewest(t)).Addrs(), files)
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		own := cfg.Clone()
		own.MinVersion, own.MaxVersion, own.Certificates = version, version, nil
		c := dialTLS(t, addr, own)
		want(t, c, "+OK", "SET", "tls", bigValue)
		if v := do(t, c, "GET", "tls"); v.Text != bigValue {
			t.Errorf("got %v, want the 1 MiB that were written", v)
		}
		want(t, c, ":1", "DEL", "tls")
	}
	old := cfg.Clone()
	old.MinVersion, old.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
	if c, err := wire.DialTLS(addr, old); err == nil {
		_ = c.Close()
		t.Error("TLS 1.1 is accepted")
	}
}

func TestAClientCertificateIsRequiredWhenToldSo(t *testing.T) {
	files, cfg := newTLSFiles(t)
	_, stranger := newTLSFiles(t)
	_, addr := startTLSProxy(t, sharedCluster(t, testcluster.NeedNewest(t)).Addrs(), files, "--tls-client-auth", "require")
	want(t, dialTLS(t, addr, cfg), "+PONG", "PING")
	for name, certs := range map[string][]tls.Certificate{"none": nil, "of another authority": stranger.Certificates} {
		own := cfg.Clone()
		own.Certificates = certs
		c, err := wire.DialTLS(addr, own)
		if err != nil {
			continue
		}
		// In TLS 1.3 the client learns of its refusal only when it reads.
		if v, err := c.Do("PING"); err == nil {
			t.Errorf("certificate %s: got %v, want no connection", name, v)
		}
		_ = c.Close()
	}
}

func TestTheNodesAreReachedOverMutualTLS(t *testing.T) {
	nodes, _ := newTLSFiles(t)
	clients, cfg := newTLSFiles(t)
	cluster := testcluster.ForTest(t, testcluster.Options{TLS: nodes})
	_, addr := startTLSProxy(t, cluster.Addrs(), clients,
		"--cluster-tls=true", "--cluster-tls-ca", nodes.CA, "--cluster-tls-cert", nodes.ClientCert, "--cluster-tls-key", nodes.ClientKey)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	moves := newMover(t, cluster, 20, time.Second, cancel) // the client makes a TLS handshake for each node and command
	report, err := storm.Run(ctx, storm.Options{Clients: 2, OnStart: moves.start, Dial: func() (net.Conn, error) {
		return tls.DialWithDialer(&net.Dialer{Timeout: 5 * time.Second}, "tcp", addr, cfg)
	}})
	checkStorm(t, report, err)
	moves.wait(t)
}

func TestANodeWithAWrongCertificateIsRefused(t *testing.T) {
	nodes, _ := newTLSFiles(t)
	others, _ := newTLSFiles(t)
	cluster := testcluster.ForTest(t, testcluster.Options{TLS: nodes, Primaries: 3})
	p := startProxyWith(t, proxyOptions{Seeds: cluster.Addrs(), NoReady: true, Args: []string{"--redirect-budget", "1s",
		"--cluster-tls=true", "--cluster-tls-ca", others.CA, "--cluster-tls-cert", nodes.ClientCert, "--cluster-tls-key", nodes.ClientKey}})
	eventually(t, readyLimit, func() error {
		code, _, err := p.get("/livez")
		if err != nil || code != 200 {
			return fmt.Errorf("/livez: %d %v", code, err)
		}
		return nil
	})
	time.Sleep(500 * time.Millisecond) // several tries
	if code, body, err := p.get("/readyz"); err != nil || code != 503 {
		t.Errorf("/readyz: %d %s %v, want 503", code, body, err)
	}
}

func TestSIGHUPTakesNewCertificatesAndKeepsOldOnesWhenTheNewAreBroken(t *testing.T) {
	first, cfg := newTLSFiles(t)
	second, _ := newTLSFiles(t)
	pool := x509.NewCertPool() // trusts both authorities, as clients do during a rotation
	for _, f := range []string{first.CA, second.CA} {
		if !pool.AppendCertsFromPEM(read(t, f)) {
			t.Fatalf("%s holds no certificate", f)
		}
	}
	cfg.RootCAs, cfg.Certificates = pool, nil
	p, addr := startTLSProxy(t, sharedCluster(t, testcluster.NeedNewest(t)).Addrs(), first)
	old := dialTLS(t, addr, cfg)
	before := serial(t, old)
	for from, to := range map[string]string{second.Cert: first.Cert, second.Key: first.Key} {
		write(t, to, read(t, from))
	}
	if got := serial(t, dialTLS(t, addr, cfg)); got != before {
		t.Errorf("the certificate changed without SIGHUP")
	}
	p.signal(t, syscall.SIGHUP)
	var after string
	eventually(t, 5*time.Second, func() error {
		if after = serial(t, dialTLS(t, addr, cfg)); after == before {
			return fmt.Errorf("new connections still get the old certificate")
		}
		return nil
	})
	want(t, old, "+PONG", "PING")
	write(t, first.Key, []byte("no key"))
	p.signal(t, syscall.SIGHUP)
	time.Sleep(200 * time.Millisecond)
	if got := serial(t, dialTLS(t, addr, cfg)); got != after {
		t.Errorf("got another certificate after a reload that must have failed")
	}
	want(t, old, "+PONG", "PING")
}

// serial identifies the certificate that the proxy showed on a connection.
func serial(t *testing.T, c *wire.Conn) string {
	t.Helper()
	want(t, c, "+PONG", "PING")
	return c.Conn.(*tls.Conn).ConnectionState().PeerCertificates[0].SerialNumber.String()
}

func TestWhatIsNoTLSIsRefusedWithoutHarm(t *testing.T) {
	files, cfg := newTLSFiles(t)
	p, addr := startTLSProxy(t, sharedCluster(t, testcluster.NeedNewest(t)).Addrs(), files)
	for range 50 {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(c, "*1\r\n$4\r\nPING\r\n"); err != nil {
			t.Fatal(err)
		}
		_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
		got, _ := io.ReadAll(c) // an alert or a reset
		if bytes.Contains(got, []byte("PONG")) {
			t.Errorf("plain text on the TLS port is answered with %q", got)
		}
		_ = c.Close()
	}
	stalled, err := net.Dial("tcp", addr) // says nothing at all; others are served meanwhile
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = stalled.Close() }()
	want(t, dialTLS(t, addr, cfg), "+PONG", "PING")
	want(t, p.dial(t), "+PONG", "PING")
	checkIdle(t, p)
}

func TestClientsAreServedOnAUnixSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "proxy.sock")
	p := startProxy(t, sharedCluster(t, testcluster.NeedNewest(t)).Addrs(), "--unix-socket", path, "--unix-socket-mode", "0700",
		"--drain-delay", "0s", "--drain-spread", "100ms")
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o700 {
		t.Errorf("the socket's mode is %v, want 0700", info.Mode())
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	report, err := storm.Run(ctx, storm.Options{Clients: 1, Dial: func() (net.Conn, error) { return net.Dial("unix", path) }})
	checkStorm(t, report, err)
	p.signal(t, syscall.SIGTERM)
	p.wait(t, 20*time.Second)
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("the socket is left behind: %v", err)
	}
}
