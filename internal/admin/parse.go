package admin

import (
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"slotproxy/migrate"
	"slotproxy/migrate/machine"
	"slotproxy/router"
)

// request is what the words behind a command ask for.
type request struct {
	goal      migrate.Goal
	options   machine.Options
	fix       migrate.FixOptions
	replicas  int
	replicaOf string
	dryRun    bool
	json      bool
}

// clause is a word that may stand behind a command, with words of its own. A list
// of them ends at the next clause of the command.
type clause struct {
	word        string // upper case
	least, most int    // words behind it; equal for a fixed number
	required    bool
	set         func(q *request, words []string) (text string) // "" or what is wrong
}

// jobClauses are the options of every command that begins a job.
var jobClauses = []clause{
	{"ENGINE", 1, 1, false, setEngine},
	{"HOLD", 1, 1, false, setHold},
	{"MAXKEYS", 1, 1, false, setMaxKeys},
	{"MAXBYTES", 1, 1, false, setMaxBytes},
	{"PARALLEL", 1, 1, false, setParallel},
	{"ALLOWBLOCKING", 0, 0, false, setAllowBlocking},
}

// planClauses are those of commands that make a plan first.
var planClauses = slices.Concat(jobClauses, []clause{{"DRYRUN", 0, 0, false, setDryRun}, {"JSON", 0, 0, false, setJSON}})

// goalClauses are those of commands that make it of a goal. A plan that was saved has its caps already.
var goalClauses = slices.Concat([]clause{{"CAPSLOTS", 1, 1, false, setCapSlots}, {"CAPKEYS", 1, 1, false, setCapKeys}}, planClauses)

var reshardClauses = slices.Concat([]clause{
	{"FROM", 1, many, true, setFrom}, {"TO", 1, 1, true, setTo}, {"SLOTS", 1, 1, true, setSlots},
}, goalClauses)

var moveClauses = slices.Concat([]clause{{"SLOTSRANGE", 2, many, true, setRanges}, {"TO", 1, 1, true, setTo}}, goalClauses)

var rebalanceClauses = slices.Concat([]clause{
	{"BY", 1, 1, false, setBy}, {"WEIGHT", 2, many, false, setWeights},
	{"THRESHOLD", 1, 1, false, setThreshold}, {"USEEMPTY", 0, 0, false, setUseEmpty},
}, goalClauses)

var fixClauses = []clause{{"ORPHANS", 1, 1, false, setOrphans}, {"DRYRUN", 0, 0, false, setDryRun}}

var createClauses = []clause{{"REPLICAS", 1, 1, false, setReplicas}, {"DRYRUN", 0, 0, false, setDryRun}}

var addNodeClauses = []clause{{"REPLICAOF", 1, 1, false, setReplicaOf}}

const jobOption = "<job option>"

// jobOptionsHelp is HELP's explanation of it.
var jobOptionsHelp = []string{
	jobOption + " is one of",
	"    ENGINE AUTO|ATOMIC|LEGACY | HOLD <milliseconds> | MAXKEYS <a second> | MAXBYTES <a second> | PARALLEL <count> | ALLOWBLOCKING,",
	"    CAPSLOTS <in all> | CAPKEYS <in all>: the plan moves no more than that, and says what is left; not of EXECUTE,",
	"    and DRYRUN, which answers the plan and begins nothing; DRYRUN JSON answers it as EXECUTE takes it.",
}

// parse reads clauses in any order, each at most once.
func parse(q *request, args []string, clauses []clause) (text string) {
	given := make([]bool, len(clauses))
	for len(args) > 0 {
		i := indexClause(clauses, args[0])
		if i < 0 || given[i] {
			return errTextSyntax
		}
		given[i] = true
		c, n := &clauses[i], 0
		for args = args[1:]; n < min(c.most, len(args)); n++ {
			if n >= c.least && indexClause(clauses, args[n]) >= 0 {
				break
			}
		}
		if n < c.least {
			return errTextSyntax
		}
		if text := c.set(q, args[:n]); text != "" {
			return text
		}
		args = args[n:]
	}
	for i := range clauses {
		if clauses[i].required && !given[i] {
			return errTextSyntax
		}
	}
	if q.json && !q.dryRun {
		return errTextSyntax
	}
	return ""
}

func indexClause(clauses []clause, word string) int {
	return slices.IndexFunc(clauses, func(c clause) bool { return strings.EqualFold(c.word, word) })
}

func setFrom(q *request, words []string) string {
	if len(words) == 1 && strings.EqualFold(words[0], "all") {
		return "" // a goal without sources has all
	}
	q.goal.From = slices.Clone(words)
	return ""
}

func setTo(q *request, words []string) string        { q.goal.To = words[0]; return "" }
func setReplicaOf(q *request, words []string) string { q.replicaOf = words[0]; return "" }
func setUseEmpty(q *request, _ []string) string      { q.goal.UseEmpty = true; return "" }
func setDryRun(q *request, _ []string) string {
	q.dryRun, q.fix.DryRun = true, true
	return ""
}
func setJSON(q *request, _ []string) string          { q.json = true; return "" }
func setAllowBlocking(q *request, _ []string) string { q.options.AllowBlocking = true; return "" }

func setSlots(q *request, words []string) string {
	n, text := integer(words[0], 1, router.Slots)
	q.goal.Slots = int(n)
	return text
}

func setCapSlots(q *request, words []string) string {
	n, text := integer(words[0], 1, router.Slots)
	q.goal.Caps.Slots = int(n)
	return text
}

// maxCapKeys is more than the largest cluster has, of a thousand nodes.
const maxCapKeys = 1 << 40

func setCapKeys(q *request, words []string) (text string) {
	q.goal.Caps.Keys, text = integer(words[0], 1, maxCapKeys)
	return text
}

func setRanges(q *request, words []string) string {
	if len(words)%2 != 0 {
		return errTextSyntax
	}
	for pair := range slices.Chunk(words, 2) {
		first, ok := slot(pair[0])
		last, ok2 := slot(pair[1])
		if !ok || !ok2 {
			return errTextSlot
		}
		if first > last {
			return slotOrder(first, last)
		}
		q.goal.Ranges = append(q.goal.Ranges, [2]uint16{first, last})
	}
	return ""
}

func slot(word string) (uint16, bool) {
	n, err := strconv.ParseUint(word, 10, 16)
	return uint16(n), err == nil && n < router.Slots
}

func setBy(q *request, words []string) string {
	q.goal.By = strings.ToLower(words[0])
	if !slices.Contains([]string{"slots", "keys", "ops"}, q.goal.By) {
		return errTextSyntax
	}
	return ""
}

// maxWeight keeps shares exact: above it the ratio of two nodes means nothing any more.
const maxWeight = 1e6

func setWeights(q *request, words []string) string {
	if len(words)%2 != 0 {
		return errTextSyntax
	}
	q.goal.Weights = make(map[string]float64)
	for pair := range slices.Chunk(words, 2) {
		w, text := decimal(pair[1], maxWeight)
		if text != "" {
			return text
		}
		q.goal.Weights[pair[0]] = w
	}
	return ""
}

// leastThreshold is less than any node can be off. 0, which moves all that is not even, stands for the default in a goal.
const leastThreshold = 1e-9

func setThreshold(q *request, words []string) (text string) {
	q.goal.Threshold, text = decimal(words[0], 100)
	q.goal.Threshold = max(q.goal.Threshold, leastThreshold)
	return text
}

func setEngine(q *request, words []string) string {
	switch strings.ToLower(words[0]) {
	case EngineAuto:
		q.options.Engine = EngineAuto
	case machine.Atomic:
		q.options.Engine = machine.Atomic
	case machine.Legacy:
		q.options.Engine = machine.Legacy
	default:
		return errTextSyntax
	}
	return ""
}

// maxHold in milliseconds: clients have given up before.
const maxHold = 1000

func setHold(q *request, words []string) string {
	ms, text := integer(words[0], 1, maxHold)
	q.options.HoldBudget = time.Duration(ms) * time.Millisecond
	return text
}

func setMaxKeys(q *request, words []string) (text string) {
	q.options.MaxKeysPerSecond, text = integer(words[0], 1, math.MaxInt32)
	return text
}

func setMaxBytes(q *request, words []string) (text string) {
	q.options.MaxBytesPerSecond, text = integer(words[0], 1, 1<<40)
	return text
}

// maxParallel as the setting migrate_parallel.
const maxParallel = 16

func setParallel(q *request, words []string) string {
	n, text := integer(words[0], 1, maxParallel)
	q.options.Parallel = int(n)
	return text
}

func setOrphans(q *request, words []string) string {
	q.fix.Orphans = strings.ToLower(words[0])
	if !slices.Contains([]string{"keep", "merge", "delete"}, q.fix.Orphans) {
		return errTextSyntax
	}
	return ""
}

// maxReplicas of one primary; each is a copy of all its data.
const maxReplicas = 100

func setReplicas(q *request, words []string) string {
	n, text := integer(words[0], 0, maxReplicas)
	q.replicas = int(n)
	return text
}

func integer(word string, least, most int64) (n int64, text string) {
	n, err := strconv.ParseInt(word, 10, 64)
	switch {
	case err != nil:
		return 0, errTextInteger
	case n < least || n > most:
		return 0, outOfRange(least, most)
	}
	return n, ""
}

// decimal reads a number from 0 to most.
func decimal(word string, most float64) (f float64, text string) {
	f, err := strconv.ParseFloat(word, 64)
	switch {
	case err != nil || math.IsNaN(f):
		return 0, errTextFloat
	case f < 0 || f > most:
		return 0, outOfRange(0, int64(most))
	}
	return f, ""
}
