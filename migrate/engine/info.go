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

// Number is a whole number, 0 for none.
func (i Info) Number(name string) int64 {
	n, _ := strconv.ParseInt(i[name], 10, 64)
	return n
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
