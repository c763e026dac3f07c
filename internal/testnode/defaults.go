package testnode

import (
	"fmt"
	"strconv"
	"strings"
)

func bulk(s string) string { return "$" + strconv.Itoa(len(s)) + "\r\n" + s + "\r\n" }

// text is what a server gives for CLUSTER NODES and INFO: a bulk string, or a verbatim one in RESP3.
func (s *session) text(t string) string {
	if s.cmd.Proto == 3 {
		return fmt.Sprintf("=%d\r\ntxt:%s\r\n", len(t)+4, t)
	}
	return bulk(t)
}

// pairs is a map in RESP3 and a flat array in RESP2; values are given encoded.
func (s *session) pairs(kv ...string) string {
	out := "*" + strconv.Itoa(len(kv))
	if s.cmd.Proto == 3 {
		out = "%" + strconv.Itoa(len(kv)/2)
	}
	out += "\r\n"
	for i, x := range kv {
		if i%2 == 0 {
			x = bulk(x)
		}
		out += x
	}
	return out
}

// defaultAnswer is what a node says without a script: enough for a proxy to start and to stay.
func (s *session) defaultAnswer() error {
	a := s.cmd.Args
	sub := ""
	if len(a) > 1 {
		sub = strings.ToUpper(a[1])
	}
	switch name := strings.ToUpper(a[0]); name {
	case "PING":
		if len(a) > 1 {
			return s.write(bulk(a[1]))
		}
		return s.write("+PONG\r\n")
	case "AUTH", "SELECT", "ASKING", "READONLY", "READWRITE":
		return s.write("+OK\r\n")
	case "HELLO":
		return s.write(s.hello())
	case "CLIENT":
		return s.write(s.client(sub))
	case "CLUSTER":
		return s.write(s.cluster(sub))
	case "COMMAND":
		return s.write("*0\r\n")
	case "INFO":
		return s.write(s.text("# Server\r\nredis_version:7.2.4\r\nserver_name:valkey\r\nvalkey_version:9.1.0\r\nredis_mode:cluster\r\n" +
			"# Replication\r\nrole:master\r\nconnected_slaves:0\r\n# Cluster\r\ncluster_enabled:1\r\n"))
	case "CONFIG":
		return s.write(s.pairs())
	case "QUIT":
		if err := s.write("+OK\r\n"); err != nil {
			return err
		}
		return errHangUp
	default:
		return s.write("-ERR testnode: no script for " + name + "\r\n")
	}
}

func (s *session) hello() string {
	if p := s.cmd.Proto; p != 2 && p != 3 {
		s.cmd.Proto = 2
		return "-NOPROTO unsupported protocol version\r\n"
	}
	return s.pairs("server", bulk("valkey"), "version", bulk("9.1.0"), "proto", ":"+strconv.Itoa(s.cmd.Proto)+"\r\n",
		"id", ":"+strconv.Itoa(s.id)+"\r\n", "mode", bulk("cluster"), "role", bulk("master"), "modules", "*0\r\n")
}

func (s *session) client(sub string) string {
	switch sub {
	case "ID":
		return ":" + strconv.Itoa(s.id) + "\r\n"
	case "LIST", "INFO":
		return s.text("")
	}
	return "+OK\r\n"
}

func (s *session) cluster(sub string) string {
	set := s.node.set
	switch {
	case set == nil:
		return "-ERR This instance has cluster support disabled\r\n"
	case sub == "NODES":
		return s.text(set.Nodes(s.node.index))
	case sub == "MYID":
		return bulk(s.node.id)
	case sub == "INFO":
		return s.text("cluster_enabled:1\r\ncluster_state:ok\r\ncluster_slots_assigned:16384\r\ncluster_slots_ok:16384\r\n" +
			"cluster_known_nodes:" + strconv.Itoa(set.size()) + "\r\n")
	}
	return "-ERR testnode: no script for CLUSTER " + sub + "\r\n"
}
