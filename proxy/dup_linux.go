package proxy

import "golang.org/x/sys/unix"

// dupFd copies a descriptor; the copy is non-blocking as the original is, and closed on exec. -1 means failure.
func dupFd(fd int) int {
	n, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return -1
	}
	return n
}
