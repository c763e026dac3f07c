//go:build !linux

package load

import (
	"context"
	"errors"
)

// Run is a load under way; there is none on this system.
type Run struct{}

// Start needs epoll.
func Start(context.Context, Config) (*Run, error) {
	return nil, errors.New("the load generator runs on Linux only")
}

// Enter, Progress, Trouble, Done and Stop are those of Linux.
func (r *Run) Enter(string) error { return nil }

func (r *Run) Progress() (operations, failed int64) { return 0, 0 }

func (r *Run) Trouble() string { return "" }

func (r *Run) Done() <-chan struct{} { return nil }

func (r *Run) Stop() *Result { return &Result{} }
