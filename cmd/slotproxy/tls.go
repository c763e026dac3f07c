package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"time"

	"slotproxy/internal/config"
	"slotproxy/internal/metrics"
)

// tlsFiles is what was read from the certificate files of one configuration. Immutable.
type tlsFiles struct {
	server   *tls.Config      // for listen_tls; nil without a certificate
	nodeCert *tls.Certificate // shown to nodes; nil for none
	nodeCA   *x509.CertPool   // nil for the system's
}

// loadTLS reads every certificate file that cfg names. Either all of it is good, or none is used.
func loadTLS(cfg *config.Config) (*tlsFiles, error) {
	var f tlsFiles
	var err error
	node := cfg.Cluster.TLS
	if f.nodeCA, err = loadCA("cluster_tls_ca", node.CA); err != nil {
		return nil, err
	}
	if node.Cert != "" {
		if f.nodeCert, err = loadCert("cluster_tls_cert", node.Cert, node.Key); err != nil {
			return nil, err
		}
	}
	if cfg.Listen.Cert == "" {
		return &f, nil
	}
	cert, err := loadCert("tls_cert", cfg.Listen.Cert, cfg.Listen.Key)
	if err != nil {
		return nil, err
	}
	clientCA, err := loadCA("tls_client_ca", cfg.Listen.ClientCA)
	if err != nil {
		return nil, err
	}
	f.server = &tls.Config{
		MinVersion:   tls.VersionTLS12,
		Certificates: []tls.Certificate{*cert},
		ClientCAs:    clientCA,
		ClientAuth: map[string]tls.ClientAuthType{
			config.AuthNone: tls.NoClientCert, config.AuthOptional: tls.VerifyClientCertIfGiven,
			config.AuthRequire: tls.RequireAndVerifyClientCert,
		}[cfg.Listen.ClientAuth],
	}
	return &f, nil
}

func loadCert(setting, certFile, keyFile string) (*tls.Certificate, error) {
	cert, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		return nil, fmt.Errorf("%s: %s with %s: %w", setting, certFile, keyFile, err)
	}
	if cert.Leaf == nil {
		return nil, fmt.Errorf("%s: %s holds no certificate", setting, certFile)
	}
	return &cert, nil
}

// loadCA returns nil for no file.
func loadCA(setting, file string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", setting, err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s: %s holds no certificate", setting, file)
	}
	return pool, nil
}

var errNoServerCert = errors.New("no certificate is configured")

// certificates are the TLS files in use. A reload replaces them for connections that are made from then on.
type certificates struct {
	files atomic.Pointer[tlsFiles]
}

// listener is the configuration of TLS listeners. It follows reloads.
func (c *certificates) listener() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			if server := c.files.Load().server; server != nil {
				return server, nil
			}
			return nil, errNoServerCert
		},
	}
}

// nodes is the configuration of connections to nodes, nil for plain ones. The certificate shown follows reloads; the
// authorities do not, they are a part of the configuration that each connection copies.
func (c *certificates) nodes(cfg config.NodeTLS) *tls.Config {
	if !cfg.On {
		return nil
	}
	return &tls.Config{
		MinVersion:         tls.VersionTLS12,
		RootCAs:            c.files.Load().nodeCA,
		ServerName:         cfg.ServerName,
		InsecureSkipVerify: cfg.InsecureSkipVerify,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			if cert := c.files.Load().nodeCert; cert != nil {
				return cert, nil
			}
			return &tls.Certificate{}, nil // shows none, and lets the node decide
		},
	}
}

// expiries lists the certificates in use for the metrics.
func (c *certificates) expiries() []metrics.Certificate {
	f := c.files.Load()
	var list []metrics.Certificate
	add := func(where string, notAfter time.Time) {
		list = append(list, metrics.Certificate{Where: where, NotAfter: notAfter})
	}
	if f.server != nil {
		add("listener", f.server.Certificates[0].Leaf.NotAfter)
	}
	if f.nodeCert != nil {
		add("cluster", f.nodeCert.Leaf.NotAfter)
	}
	return list
}
