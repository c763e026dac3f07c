package router

import (
	"fmt"
	"strings"
)

// entry describes one command of a COMMAND reply made for a test; spec is "begin lastkey keystep" or empty.
type entry struct {
	name        string
	arity       int
	flags, spec string
}

// commandReply writes a COMMAND reply as Valkey does.
func commandReply(entries ...entry) string {
	var b strings.Builder
	fmt.Fprintf(&b, "*%d\r\n", len(entries))
	for _, e := range entries {
		fmt.Fprintf(&b, "*10\r\n%s:%d\r\n", bulk(e.name), e.arity)
		flags := strings.Fields(e.flags)
		fmt.Fprintf(&b, "*%d\r\n", len(flags))
		for _, f := range flags {
			fmt.Fprintf(&b, "+%s\r\n", f)
		}
		b.WriteString(":1\r\n:1\r\n:1\r\n*0\r\n*0\r\n")
		b.WriteString(specReply(e.spec))
		b.WriteString("*0\r\n")
	}
	return b.String()
}

func specReply(spec string) string {
	if spec == "" {
		return "*0\r\n"
	}
	var begin, last, step int
	if _, err := fmt.Sscan(spec, &begin, &last, &step); err != nil {
		panic(err)
	}
	return "*1\r\n*6\r\n" + bulk("flags") + "*1\r\n+RO\r\n" +
		bulk("begin_search") + "*4\r\n" + bulk("type") + bulk("index") + bulk("spec") +
		fmt.Sprintf("*2\r\n%s:%d\r\n", bulk("index"), begin) +
		bulk("find_keys") + "*4\r\n" + bulk("type") + bulk("range") + bulk("spec") +
		fmt.Sprintf("*6\r\n%s:%d\r\n%s:%d\r\n%s:0\r\n", bulk("lastkey"), last, bulk("keystep"), step, bulk("limit"))
}

func bulk(s string) string { return fmt.Sprintf("$%d\r\n%s\r\n", len(s), s) }
