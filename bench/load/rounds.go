package load

import (
	"context"
	"fmt"
	"time"
)

// Do runs a load of one phase.
func Do(ctx context.Context, cfg Config, warmUp, length time.Duration) (*Result, error) {
	r, err := Start(ctx, cfg)
	if err != nil {
		return nil, err
	}
	err = Pause(ctx, warmUp)
	if err == nil {
		err = r.Enter("all")
	}
	if err == nil {
		err = Pause(ctx, length)
	}
	res := r.Stop()
	return res, err
}

// Fill writes every key of a load once, as fast as it goes, and does not return before the last reply.
func Fill(ctx context.Context, cfg Config) error {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return err
	}
	cfg.Ops, cfg.Distribution = []Op{Set(1)}, Distribution{Kind: Sequential}
	cfg.Rate, cfg.Count = 0, cfg.Keys
	cfg.Clients, cfg.Pipeline = min(cfg.Clients, fillClients), fillPipeline
	cfg.Begin, cfg.Bound = "fill", false // each key in turn
	r, err := Start(ctx, cfg)
	if err != nil {
		return fmt.Errorf("fill: %w", err)
	}
	select {
	case <-r.Done():
	case <-ctx.Done():
	}
	res := r.Stop()
	if err := ctx.Err(); err != nil {
		return err
	}
	for text, n := range res.Phases[0].Errors {
		return fmt.Errorf("fill: %d keys were not written, %d of them because of: %s", res.Phases[0].All().Failed, n, text)
	}
	return nil
}

// A few clients with long pipelines fill faster than many.
const (
	fillClients  = 8
	fillPipeline = 64
)

// Rounds runs loads in turn, so many times, each round in another order: what disturbs a machine for some seconds does not disturb one
// of them only. The results are by load and round. tell is called before each; nil is for nobody.
func Rounds(ctx context.Context, loads []Config, rounds int, run func(context.Context, Config) (*Result, error),
	tell func(round int, target string)) ([][]*Result, error) {
	all := make([][]*Result, len(loads))
	for round := range rounds {
		for i := range loads {
			at := (i + round) % len(loads)
			if tell != nil {
				tell(round, loads[at].Target.Name)
			}
			res, err := run(ctx, loads[at])
			if err != nil {
				return nil, fmt.Errorf("%s, round %d: %w", loads[at].Target.Name, round+1, err)
			}
			all[at] = append(all[at], res)
		}
	}
	return all, nil
}

// Pause waits, or returns why it was cut short.
func Pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
