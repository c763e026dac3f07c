//go:build !linux

package load

import (
	"errors"
	"time"
)

func cpuTime(int) (time.Duration, error) { return 0, errors.New("not known on this system") }
