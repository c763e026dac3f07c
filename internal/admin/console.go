package admin

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

const (
	// maxSlow commands ask nodes at one time; more wait. One asks all nodes at once already.
	maxSlow = 4
	// slowTime ends a command that waits for nodes. Adding a node waits until all others know it, for minutes at worst.
	slowTime = 5 * time.Minute
)

// console answers PROXY commands from a table. Immutable; used by all sessions.
type console struct {
	commands []command
	backend  Backend
	cluster  Cluster // nil for none
	none     string  // why there is none
	log      *slog.Logger
	slow     chan struct{} // a place for each slow command under way
	refused  *atomic.Int64 // the second of the last one refused: strangers must not fill the log, so one of each is there
}

// caller is who runs a command.
type caller struct {
	role
	name    string // for lists and logs: "operator@10.0.0.1:5000"
	session int64
}

// call is a command under way.
type call struct {
	args    []string // behind the command's name
	by      string
	backend Backend
	cluster Cluster // not nil for commands that need one
}

// run answers PROXY; args are the words behind it.
func (c *console) run(ctx context.Context, args []string, as caller, r *reply) {
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
	case as.role < cmd.role:
		if now := time.Now().Unix(); c.refused.Swap(now) != now {
			c.log.Warn("admin command refused", "session", as.session, "command", inLog(args), "by", as.name)
		}
		r.fail(noPermission(name, as.role, cmd.role))
	default:
		if cmd.role > viewer {
			c.log.Info("admin command", "session", as.session, "command", inLog(args), "by", as.name)
		}
		c.perform(ctx, cmd, &call{args[words:], as.name, c.backend, c.cluster}, r)
	}
}

// maxLogged bounds a command in the log: it has room for some nodes and all options, and a plan is longer than a log should be.
const maxLogged = 512

// inLog is a command as its user wrote it. None has keys, values or passwords in it; a plan is as long as it likes, so what
// stands behind it comes before.
func inLog(args []string) string {
	if strings.EqualFold(args[0], "execute") && len(args) > 2 {
		args = slices.Concat(args[:1], args[2:], args[1:2])
	}
	text := strings.Join(args, " ")
	if len(text) > maxLogged {
		text = strings.ToValidUTF8(text[:maxLogged], "") + "..."
	}
	return "PROXY " + text
}

// perform runs a command, at its time if it is a slow one.
func (c *console) perform(ctx context.Context, cmd *command, as *call, r *reply) {
	if as.cluster == nil {
		as.cluster = absent(c.none)
	}
	if !cmd.slow {
		cmd.run(ctx, as, r)
		return
	}
	ctx, end := context.WithTimeout(ctx, slowTime)
	defer end()
	select {
	case c.slow <- struct{}{}:
		defer c.leave()
		cmd.run(ctx, as, r)
	case <-ctx.Done():
		r.fail(errTextBusy)
	}
}

func (c *console) leave() { <-c.slow }

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
	if slices.ContainsFunc(c.commands, func(cmd command) bool { return strings.Contains(cmd.args, jobOption) }) {
		lines = append(lines, jobOptionsHelp...)
	}
	r.array(len(lines))
	for _, line := range lines {
		r.simple(line)
	}
}
