package testcluster

import "net"

// FreeAddrs are loopback addresses that nobody listens on now, for processes that are told where to listen. Nothing keeps others
// from them.
func FreeAddrs(n int) ([]string, error) {
	var list []string
	for range n {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer func() { _ = ln.Close() }() // at the end, so that none comes twice
		list = append(list, ln.Addr().String())
	}
	return list, nil
}
