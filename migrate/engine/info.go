package engine

import (
	"slices"
	"strconv"
	"strings"
)

// Info is what a node says in its reply to INFO or CLUSTER INFO, by name. What it does not say is "".
type Info map[string]string

// ReadInfo reads a reply. One that is no text says nothing.
func ReadInfo(reply any) Info {
	i := Info{}
	for line := range strings.Lines(text(reply)) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			i[name] = value
		}
	}
	return i
}

// Number is a whole number, 0 for none or one that no int64 holds.
func (i Info) Number(name string) int64 {
	n, err := strconv.ParseInt(i[name], 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// Dataset is the memory that the node needs for its keys: all but what it needed without any, and what it keeps for its clients and
// replicas. What it says itself, used_memory_dataset, is of no use on Valkey 8.0: that goes on taking off hash tables of slots that
// have been emptied, which are gone, until less than nothing is left, and that is written as a number above 2^63.
func (i Info) Dataset() int64 {
	n := i.Number("used_memory")
	for _, other := range []string{"used_memory_startup", "mem_clients_normal", "mem_clients_slaves", "mem_replication_backlog", "mem_aof_buffer"} {
		n -= i.Number(other)
	}
	return max(n, 0)
}

// Release is the version of the server.
func (i Info) Release() (version string, valkey bool) {
	if v := i["valkey_version"]; v != "" {
		return v, true
	}
	return i["redis_version"], false
}

// Databases are the numbers of those that hold keys, in order: db0:keys=5,expires=0.
func (i Info) Databases() (list []int) {
	for name := range i {
		digits, isDB := strings.CutPrefix(name, "db")
		if db, err := strconv.Atoi(digits); isDB && err == nil {
			list = append(list, db)
		}
	}
	slices.Sort(list)
	return list
}

// Keys counts those of all databases.
func (i Info) Keys() (sum int64) {
	for _, db := range i.Databases() {
		n, _ := Part(i["db"+strconv.Itoa(db)], "keys")
		sum += n
	}
	return sum
}

// Replicas are the lines of those that follow: ip=10.0.0.1,port=7000,state=online,offset=99,lag=0.
func (i Info) Replicas() (online []string) {
	for name, value := range i {
		if strings.HasPrefix(name, "slave") && strings.Contains(value, "state=online") {
			online = append(online, value)
		}
	}
	return online
}

// Part is a number in a value like keys=3,expires=0.
func Part(value, name string) (n int64, ok bool) {
	for part := range strings.SplitSeq(value, ",") {
		if digits, named := strings.CutPrefix(part, name+"="); named {
			n, err := strconv.ParseInt(digits, 10, 64)
			return n, err == nil
		}
	}
	return 0, false
}
