package admin

import "strings"

// console answers PROXY commands from a table. Immutable; used by all sessions.
type console struct {
	commands []command
	backend  Backend
}

// run answers PROXY; args are the words behind it.
func (c *console) run(args []string, as role, r *reply) {
	if len(args) == 0 {
		r.fail(wrongArity("proxy"))
		return
	}
	if strings.EqualFold(args[0], "help") {
		c.help(args, r)
		return
	}
	cmd, words := c.find(args)
	if cmd == nil {
		r.fail(c.unknown(args))
		return
	}
	name := "proxy|" + strings.ReplaceAll(cmd.name, " ", "|")
	switch given := len(args) - words; {
	case given < cmd.min || given > cmd.max:
		r.fail(wrongArity(name))
	case as < cmd.role:
		r.fail(noPermission(name))
	default:
		cmd.run(c.backend, args[words:], r)
	}
}

// find returns the entry and how many words its name has.
func (c *console) find(args []string) (*command, int) {
	for i := range c.commands {
		cmd := &c.commands[i]
		first, second, two := strings.Cut(cmd.name, " ")
		switch {
		case !strings.EqualFold(args[0], first):
		case !two:
			return cmd, 1
		case len(args) > 1 && strings.EqualFold(args[1], second):
			return cmd, 2
		}
	}
	return nil, 0
}

// unknown words what is wrong with a name that is not in the table.
func (c *console) unknown(args []string) string {
	container := strings.ToLower(args[0])
	for i := range c.commands {
		if !strings.HasPrefix(c.commands[i].name, container+" ") {
			continue
		}
		if len(args) == 1 {
			return wrongArity("proxy|" + container)
		}
		return unknownSub("proxy", args[1])
	}
	return unknownSub("proxy", args[0])
}

// help lists the table in the form of Valkey's HELP subcommands.
func (c *console) help(args []string, r *reply) {
	if len(args) != 1 {
		r.fail(wrongArity("proxy|help"))
		return
	}
	lines := []string{"PROXY <subcommand> [<arg> [value] [opt] ...]. Subcommands are:"}
	for i := range c.commands {
		cmd := &c.commands[i]
		lines = append(lines, strings.TrimSpace(strings.ToUpper(cmd.name)+" "+cmd.args), "    "+cmd.help)
	}
	lines = append(lines, "HELP", "    Print this help.")
	r.array(len(lines))
	for _, line := range lines {
		r.simple(line)
	}
}
