//go:build fault_noasking

package proxy

// A build that forgets ASKING: the storm must notice.
const (
	faultNoAsking = true
	faultNoOrder  = false
)
