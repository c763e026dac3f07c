//go:build !fault_noasking && !fault_noorder

package proxy

// Deliberate faults for the test of the tests; see faults_noasking.go and faults_noorder.go.
const (
	faultNoAsking = false
	faultNoOrder  = false
)
