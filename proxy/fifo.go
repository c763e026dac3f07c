package proxy

// fifo is the requests of one node connection that have no reply yet, oldest first: a ring that grows by doubling.
type fifo struct {
	ring []*request
	head int
	n    int
}

func (f *fifo) push(r *request) {
	if f.n == len(f.ring) {
		f.grow()
	}
	f.ring[(f.head+f.n)&(len(f.ring)-1)] = r
	f.n++
}

func (f *fifo) grow() {
	bigger := make([]*request, max(16, 2*len(f.ring)))
	for i := range f.n {
		bigger[i] = f.ring[(f.head+i)&(len(f.ring)-1)]
	}
	f.ring, f.head = bigger, 0
}

// first returns the oldest request, nil when there is none.
func (f *fifo) first() *request {
	if f.n == 0 {
		return nil
	}
	return f.ring[f.head]
}

func (f *fifo) at(i int) *request { return f.ring[(f.head+i)&(len(f.ring)-1)] }

func (f *fifo) pop() {
	f.ring[f.head] = nil
	f.head = (f.head + 1) & (len(f.ring) - 1)
	f.n--
}
