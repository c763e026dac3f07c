package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"slotproxy/router"
)

// errRefused is a no to a question.
var errRefused = errors.New("aborted, nothing has changed")

// ask puts a question and returns the answer without its line end.
func (o *operation) ask(question string) (string, error) {
	o.say("%s", question)
	line, err := o.in.ReadString('\n')
	if err != nil && (!errors.Is(err, io.EOF) || line == "") {
		return "", fmt.Errorf("no answer: %w", err)
	}
	return strings.TrimSpace(line), nil
}

// willAsk tells whether consent puts its question to somebody.
func (o *operation) willAsk() bool { return o.asks && !o.flags.yes }

// consent returns nil for a yes. Without a terminal --yes must have been given.
func (o *operation) consent(question string) error {
	if o.flags.yes {
		return nil
	}
	if !o.asks {
		return fail(exitUsage, "--yes is missing, and there is no terminal to ask")
	}
	answer, err := o.ask(question)
	if err != nil {
		return err
	}
	if !strings.EqualFold(answer, "yes") {
		return errRefused
	}
	return nil
}

// reshardAsk completes what a reshard needs, in valkey-cli's words.
func (o *operation) reshardAsk(ctx context.Context, w *reshardWords) error {
	var missing []string
	for _, m := range []struct {
		flag string
		is   bool
	}{{"--from", len(w.from) == 0}, {"--to", w.to == ""}, {"--slots", w.slots == 0}} {
		if m.is {
			missing = append(missing, m.flag)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	if !o.asks {
		return fail(exitUsage, "missing: %s; there is no terminal to ask", strings.Join(missing, ", "))
	}
	p, err := o.picture(ctx)
	if err != nil {
		return err
	}
	for i := range p.nodes {
		o.say("%s", p.describe(&p.nodes[i], ""))
	}
	for w.slots == 0 {
		if err := o.askSlots(w); err != nil {
			return err
		}
	}
	if w.to == "" {
		n, err := o.askPrimary(p, "What is the receiving node ID? ")
		if err != nil {
			return err
		}
		w.to = n.ID
	}
	if len(w.from) == 0 {
		return o.askSources(p, w)
	}
	return nil
}

func (o *operation) askSlots(w *reshardWords) error {
	answer, err := o.ask(fmt.Sprintf("How many slots do you want to move (from 1 to %d)? ", router.Slots))
	if err != nil {
		return err
	}
	if n, err := strconv.Atoi(answer); err == nil && n >= 1 && n <= router.Slots {
		w.slots = n
	}
	return nil
}

// askPrimary asks until it hears of a primary.
func (o *operation) askPrimary(p *picture, question string) (*nodeView, error) {
	for {
		answer, err := o.ask(question)
		if err != nil {
			return nil, err
		}
		if n := p.find(answer); n != nil && n.primary() {
			return n, nil
		}
		o.say("*** The specified node (%s) is not known or not a primary, please retry.\n", answer)
	}
}

// askSources asks for nodes until it hears all or done.
func (o *operation) askSources(p *picture, w *reshardWords) error {
	o.say("Please enter all the source node IDs.\n" +
		"  Type 'all' to use all the nodes as source nodes for the hash slots.\n" +
		"  Type 'done' once you entered all the source nodes IDs.\n")
	target := p.find(w.to)
	for {
		answer, err := o.ask(fmt.Sprintf("Source node #%d: ", len(w.from)+1))
		if err != nil {
			return err
		}
		n := p.find(answer)
		switch {
		case answer == "all":
			w.from = []string{"all"}
			return nil
		case answer == "done" && len(w.from) == 0:
			return errors.New("no source nodes given, operation aborted")
		case answer == "done":
			return nil
		case n == nil || !n.primary():
			o.say("*** The specified node (%s) is not known or not a primary, please retry.\n", answer)
		case n == target:
			o.say("*** It is not possible to use the target node as source node.\n")
		case !slices.Contains(w.from, n.ID):
			w.from = append(w.from, n.ID)
		}
	}
}
