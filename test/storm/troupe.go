package storm

import (
	"fmt"
	"math/rand/v2"
)

// troupe makes the parties of one class, whose protocols take turns.
type troupe struct {
	opt     *Options
	class   string
	shared  *shared
	seed    uint64
	places  int
	runners []runner
}

func (tr *troupe) newPlace() *place {
	i := tr.places
	tr.places++
	rnd := rand.New(rand.NewPCG(tr.opt.Seed, tr.seed+uint64(i)))
	p := &place{rnd: rnd, hot: tr.opt.Hot, name: fmt.Sprintf("%s:%s%d", tr.opt.Name, tr.class, i), stay: i%2 == 0}
	p.home = tr.opt.busy(rnd.IntN(busySlots))
	return p
}

func (tr *troupe) party() party {
	proto := 2 + tr.places%2
	return party{opt: tr.opt, class: tr.class, place: tr.newPlace(), proto: proto}
}

// add gives a talk its connection.
func (tr *troupe) add(make func(*place) talk) {
	t := &talker{party: tr.party()}
	t.src = make(t.place)
	tr.runners = append(tr.runners, t)
}

func castWatchers(tr *troupe) {
	for range tr.opt.Clients {
		tr.add(func(p *place) talk { return newWatcher(p, tr.shared) })
	}
}

func castBelts(tr *troupe) {
	for range tr.opt.Clients {
		b := newBelt(tr.newPlace()) // an odd number of places for each belt, so both protocols produce and consume
		tr.add(func(p *place) talk { return &producer{belt: b, place: p} })
		tr.add(func(p *place) talk { return &consumer{belt: b, place: p} })
	}
}

func castChannels(tr *troupe)      { tr.channels(false) }
func castShardChannels(tr *troupe) { tr.channels(true) }

// channels: half as many as clients, since each has several subscribers, of both protocols.
func (tr *troupe) channels(sharded bool) {
	for i := range (tr.opt.Clients + 1) / 2 {
		tr.places += i % 2 // the other protocols than the channel before
		c := &channel{name: tr.newPlace().fresh() + ":channel", sharded: sharded, want: 4}
		tr.add(func(p *place) talk { return &publisher{channel: c, place: p} })
		tr.add(func(p *place) talk { return &subscriber{channel: c, place: p} })
		tr.add(func(p *place) talk { return &subscriber{channel: c, place: p} })
		tr.add(func(p *place) talk { return &subscriber{channel: c, place: p, pattern: !sharded} })
		tr.add(func(p *place) talk { return &subscriber{channel: c, place: p, wanders: true} })
	}
}

func castSweepers(tr *troupe) {
	for range (tr.opt.Clients + 1) / 2 {
		tr.add(func(p *place) talk { return newSweeper(p, tr.opt.Name) })
	}
}
