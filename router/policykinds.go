package router

// policy is one entry of the table: what cannot be learned from a server. The functions below make entries read as lines.
type policy struct {
	name    string
	policy  Policy
	merge   Merge
	why     string
	answer  string
	differs string
	step    int
	repeat  bool // may run twice although the server does not call it readonly
	blocks  bool
	single  bool // cannot be part of a transaction
	emulate string
}

// shard entries go to the node of their slot.
func shard(name string) policy { return policy{name: name, policy: Shard} }

// split entries are cut into one part a slot; step arguments belong to each key.
func split(name string, merge Merge, step int) policy {
	return policy{name: name, policy: Split, merge: merge, step: step}
}

// allPrimaries entries go to every primary.
func allPrimaries(name string, merge Merge) policy {
	return policy{name: name, policy: AllPrimaries, merge: merge}
}

// anyNode entries only ask, so they may be asked again.
func anyNode(name string) policy { return policy{name: name, policy: AnyNode, repeat: true} }

// local entries are answered by the proxy.
func local(name string) policy { return policy{name: name, policy: Local} }

// scan entries walk over the keys of all nodes.
func scan(name string) policy { return policy{name: name, policy: Scan} }

// iterate entries walk over the elements of one key.
func iterate(name string) policy { return policy{name: name, policy: Iterate} }

// transaction entries belong to MULTI and WATCH.
func transaction(name string) policy { return policy{name: name, policy: Transaction} }

// lease entries run on a node connection of their client's own.
func lease(name string, merge Merge) policy { return policy{name: name, policy: Lease, merge: merge} }

// subscribe entries change what a client listens to; publish entries talk to those who do.
func subscribe(name string) policy { return policy{name: name, policy: Subscribe} }
func publish(name string) policy   { return policy{name: name, policy: Publish} }

// script entries run code on the node of their keys.
func script(name string) policy { return policy{name: name, policy: Script} }

// refused entries are answered with a reason.
func refused(name, why string) policy { return policy{name: name, policy: Refused, why: why} }

func (p policy) answers(text string) policy { p.answer = text; return p }
func (p policy) but(differs string) policy  { p.differs = differs; return p }
func (p policy) repeats() policy            { p.repeat = true; return p }

// emulated entries work over several slots with cross_slot: emulate; differs says what is not as on one server.
func (p policy) emulated(differs string) policy { p.emulate = differs; return p }

// apart entries change the client itself, or answer nothing at times: they cannot wait for EXEC.
func (p policy) apart() policy { p.single = true; return p }

func (p policy) blockOption() policy { p.blocks = true; return p }

// rule returns the rule of the entry without what a server says about the command.
func (p policy) rule(name string) *Rule {
	r := &Rule{
		Name: name, Policy: p.policy, Merge: p.merge, Why: p.why, Answer: p.answer, Differs: p.differs,
		KeyStep: p.step, BlockOption: p.blocks, Emulated: p.emulate, Built: p.policy == Refused || p.why == "",
		Apart: p.single || p.policy == AllPrimaries || p.policy == Scan || p.policy == Subscribe,
	}
	return r
}

var policyByName = func() map[string]policy {
	m := make(map[string]policy, len(policies))
	for _, p := range policies {
		m[p.name] = p
	}
	return m
}()
