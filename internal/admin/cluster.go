package admin

import (
	"context"
	"errors"

	"slotproxy/migrate"
	"slotproxy/migrate/machine"
	"slotproxy/migrate/plan"
)

// EngineAuto is the Engine of options that ask for machine.Auto. That is empty, and stands
// for whatever the settings say.
const EngineAuto = "auto"

// Cluster is the coordinator: what changes the cluster. Errors that begin with a
// code in capitals are passed on as they are. Nodes are named by id, unique prefix
// of one, or host:port; by is who asks.
type Cluster interface {
	Plan(ctx context.Context, goal migrate.Goal) (*plan.Plan, error)
	Fits(ctx context.Context, p *plan.Plan) error // an error: the cluster is not as it was when the plan was made
	Start(ctx context.Context, p *plan.Plan, options machine.Options, by string) (id string, err error)
	Jobs() []migrate.Status // the oldest first
	Job(id string) (migrate.Status, bool)
	Pause(id, by string) error
	Resume(id, by string) error
	Cancel(id, by string) error

	Check(ctx context.Context) (*migrate.Report, error)
	Fix(ctx context.Context, options migrate.FixOptions, by string) (*migrate.Report, error)
	// Create makes a cluster of empty nodes and returns what it looks like, for people, or would with dryRun.
	Create(ctx context.Context, addrs []string, replicas int, dryRun bool, by string) ([]string, error)
	AddNode(ctx context.Context, addr, replicaOf, by string) error
	DelNode(ctx context.Context, node, by string) error
}

// absent stands in for a coordinator where there is none, and says why.
type absent string

// lacking is why there is no coordinator, nil when there is one.
func lacking(c Cluster) error {
	if a, none := c.(absent); none {
		return a.err()
	}
	return nil
}

func (a absent) err() error {
	if a == "" {
		return errors.New("ERR this proxy has no coordinator")
	}
	return errors.New("ERR this proxy has no coordinator: " + string(a))
}

func (a absent) Plan(context.Context, migrate.Goal) (*plan.Plan, error) { return nil, a.err() }
func (a absent) Fits(context.Context, *plan.Plan) error                 { return a.err() }
func (a absent) Start(context.Context, *plan.Plan, machine.Options, string) (string, error) {
	return "", a.err()
}
func (a absent) Jobs() []migrate.Status                         { return nil }
func (a absent) Job(string) (s migrate.Status, known bool)      { return s, false }
func (a absent) Pause(string, string) error                     { return a.err() }
func (a absent) Resume(string, string) error                    { return a.err() }
func (a absent) Cancel(string, string) error                    { return a.err() }
func (a absent) Check(context.Context) (*migrate.Report, error) { return nil, a.err() }
func (a absent) Fix(context.Context, migrate.FixOptions, string) (*migrate.Report, error) {
	return nil, a.err()
}
func (a absent) Create(context.Context, []string, int, bool, string) ([]string, error) {
	return nil, a.err()
}
func (a absent) AddNode(context.Context, string, string, string) error { return a.err() }
func (a absent) DelNode(context.Context, string, string) error         { return a.err() }
