package test

import (
	"context"
	"flag"
	"os"
	"slices"
	"strings"
	"testing"

	"slotproxy/internal/testcluster"
	"slotproxy/test/differ"
	"slotproxy/test/storm"
)

// To see one sequence of a report again: go test ./test -run BareServer/valkey-9.1 -seed 3 -sequence 1234
var (
	differSeed     = flag.Uint64("seed", 1, "the random sequences to begin with")
	differSequence = flag.Int64("sequence", -1, "run this one only, -1 for all")
	differFamilies = flag.String("families", "", "command families of the random sequences, separated by commas; those that the proxy serves when empty")
)

// servedFamilies are the families that the proxy serves: the others are refused with a sentence, which is a difference.
var servedFamilies = []string{
	"strings", "bits", "hashes", "lists", "sets", "zsets", "geo", "hll", "streams", "keys", "split", "keyspace", "connection", "sweeps", "tx", "blocking",
	"pubsub", "scripts", "scan", "reply", "tracking",
}

// knownDifferences are the reviewed list of what the proxy says otherwise.
var knownDifferences = []differ.Known{}

// still are the families that are exact only while no foreign tool moves slots: keyspace and scan look at all nodes, one after the
// other; a cursor of sweeps is a place in a hash table, and means nothing to the node that the key goes to.
var still = []string{"keyspace", "scan", "sweeps"}

func TestRandomSequencesGetTheRepliesOfABareServer(t *testing.T) {
	eachVersion(t, func(t *testing.T, v testcluster.Version) {
		cluster := sharedCluster(t, v)
		p := startProxy(t, cluster.Addrs()[:1], "--loops", "2") // so that clients of one sequence share none
		server := sharedServer(t, v)
		d := seconds(t, "SLOTPROXY_DIFFER_SECONDS", 5)
		ctx, cancel := context.WithTimeout(context.Background(), d)
		defer cancel()
		o := differ.Options{
			Bare:     differ.Side{Addr: server.Addr, Nodes: []string{server.Addr}},
			Test:     differ.Side{Addr: p.addr, Nodes: cluster.Addrs()},
			Tags:     []string{storm.Tag(3), storm.Tag(7000), storm.Tag(15000)}, // of three nodes
			Seed:     *differSeed,
			Families: servedFamilies,
			Known:    knownDifferences,
		}
		if *differFamilies != "" {
			o.Families = strings.Split(*differFamilies, ",")
		}
		if *differSequence >= 0 {
			o.First, o.Most = uint64(*differSequence), 1
		}
		if os.Getenv("SLOTPROXY_DIFFER_MOVE") == "1" {
			o.Moving = true
			o.Families = slices.DeleteFunc(slices.Clone(o.Families), func(f string) bool { return slices.Contains(still, f) })
			o.Tags = []string{storm.Tag(3), storm.Tag(150), storm.Tag(7000)} // two of them move
			newMover(t, cluster, movedSlots, d, cancel).start()
		}
		report, err := differ.Run(ctx, o)
		t.Log(report)
		if err != nil {
			t.Fatal(err)
		}
		// A machine that stands still for a moment makes a sequence unusable; more than a few would hide what they cannot show.
		if len(report.Found) > 0 || report.Unusable > report.Sequences/1000 || report.Sequences == 0 {
			t.Errorf("%d differences and %d unusable ones in %d sequences, want none", len(report.Found), report.Unusable, report.Sequences)
		}
	})
}
