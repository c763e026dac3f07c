//go:build fault_noorder

package proxy

// A build that ignores the order rule: the storm must notice.
const (
	faultNoAsking = false
	faultNoOrder  = true
)
