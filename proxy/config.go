package proxy

import (
	"strings"

	"slotproxy/resp"
)

// CONFIG shows and changes the nodes as if they were one server, but for what each of them must have for itself.

// fixFn adds to a command for one node what is needed to correct its reply, and says how.
type fixFn func(s *session, r *request) mergeFn

// fixers correct replies of one node that a standalone server would give differently, by rule name.
var fixers = map[string]fixFn{
	"config|get": askDatabases,
}

var databasesCommand = resp.AppendCommandStrings(nil, "CONFIG", "GET", "cluster-databases")

// askDatabases asks the same node how many databases its clients may use.
func askDatabases(s *session, r *request) mergeFn {
	s.l.setBuf(s.l.newPart(r), databasesCommand)
	return fixConfig
}

// fixConfig shows cluster mode as off, for clients that see it on speak to a cluster; and as many databases as clients
// can select, for management tools offer them.
func fixConfig(r *request, dst []byte) ([]byte, bool) {
	replies, ok := r.values()
	if !ok {
		return dst, false
	}
	config := &replies[0]
	if v := config.get("cluster-enabled"); v != nil {
		v.text = []byte("no")
	}
	if v := config.get("databases"); v != nil {
		v.text = []byte("1")
		if n := replies[1].get("cluster-databases"); n != nil {
			v.text = n.text
		}
	}
	return config.append(dst), true
}

// nodesOwn are the settings that a running node takes and no two nodes may share: with another's address it is lost to the
// cluster, with another's files it overwrites them.
var nodesOwn = setOf("availability-zone", "bind", "bind-source-addr", "dbfilename", "dir", "port", "rdma-bind", "rdma-port", "tls-port")

// nodesOwnBegin are how others of them begin: a family that grows with the versions.
var nodesOwnBegin = []string{"cluster-announce-", "replica-announce-", "slave-announce-"}

// settingOfOneNode returns the first setting of a CONFIG SET that is not for all nodes, or nothing.
func settingOfOneNode(args [][]byte) string {
	for i := 2; i < len(args); i += 2 {
		name := strings.ToLower(string(args[i][:min(len(args[i]), maxEcho)]))
		if nodesOwn[name] {
			return name
		}
		for _, begin := range nodesOwnBegin {
			if strings.HasPrefix(name, begin) {
				return name
			}
		}
	}
	return ""
}
