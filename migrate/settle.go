package migrate

import (
	"cmp"
	"context"
	"time"

	"slotproxy/migrate/machine"
)

const (
	// heldShare of the clients' commands may wait behind a gate: what less than one in a hundred meets does not move the p99.
	// Clients that work all over the keyspace are far below; it slows down a job that moves just what everybody asks for, which
	// is still twice as fast as one by valkey-cli then.
	heldShare = 0.008
	// heldCredit is what may be saved up: a quiet second before must not excuse a loud one.
	heldCredit = 50
	// heldDebtLimit is what has to be paid at most, and a pulse with hardly a command halves it: when the crowd has gone there is nobody to pay.
	heldDebtLimit = 1000
	// heldLimit is the longest wait for it before one hold, so that every job ends.
	heldLimit = time.Second
)

// gated tells how many commands there were in a pulse, and how many of them had to wait behind a gate.
func (p *pacer) gated(held, commands uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.heldDebt = min(max(p.heldDebt+float64(held)-heldShare*float64(commands), -heldCredit), heldDebtLimit)
	if commands < enough && p.heldDebt > 0 {
		p.heldDebt /= 2
	}
}

// settle waits until the debts of a source are paid, and those to the clients that gates have held or streams have slowed down. It comes
// before a hold, since nothing is waited for behind it, and before a stream, which goes at its own pace.
func (p *pacer) settle(ctx context.Context, u *machine.Unit) {
	target, crowd, scarce := "", p.heldLocked, time.Now().Add(strictWait) // batches have asked for the target
	if u.Engine == machine.Atomic {
		target, crowd, scarce = u.Target, p.owingLocked, time.Now().Add(longestRest) // a stream is as much as many batches
		rested := p.owes()
		defer func() { p.fit(u.Source, rested) }()
	}
	for began := time.Now(); ; {
		p.mu.Lock()
		p.earnLocked()
		l := cmp.Or(p.nodes[u.Source], p.past[u.Source], &lane{share: 1}) // perhaps no batch has gone from there
		pause := p.pauseLocked(l, scarce, u.Source, target)
		if pause <= 0 {
			pause = crowd(began)
		}
		if p.hurried {
			pause = 0
		}
		p.mu.Unlock()
		if pause <= 0 || sleep(ctx, min(pause, waitPiece)) != nil {
			return
		}
	}
}

// Hold waits like settle, but only for the debts to clients that gates have held: those of the source are waited for batch by batch.
// Slots that are half moved wait here, so it ends when clients wait for one of them.
func (p *pacer) Hold(ctx context.Context, waited func() bool) {
	for began := time.Now(); ; {
		p.mu.Lock()
		pause := p.heldLocked(began)
		p.mu.Unlock()
		if pause <= 0 || waited() || sleep(ctx, pause) != nil {
			break
		}
	}
	p.mu.Lock()
	if p.why == whyHeld { // nobody else may wait for long
		p.why = ""
	}
	p.mu.Unlock()
}

const whyHeld = "clients wait for gates"

// heldLocked is how long to wait before one more hold, after which it is asked again; began is when that wait did.
func (p *pacer) heldLocked(began time.Time) time.Duration {
	if p.hurried || p.heldDebt <= 0 || time.Since(began) >= heldLimit {
		return 0
	}
	p.why = whyHeld
	return waitPiece / 4
}
