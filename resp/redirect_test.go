package resp

import (
	"strings"
	"testing"
)

func TestClassifyGoesByTheCodeAlone(t *testing.T) {
	tests := []struct {
		line string
		want ErrorKind
	}{
		{"-MOVED 7 10.0.0.1:6379\r\n", Moved},
		{"-ASK 7 10.0.0.1:6379\r\n", Ask},
		{"-TRYAGAIN Multiple keys request during rehashing of slot\r\n", TryAgain},
		{"-CLUSTERDOWN Hash slot not served\r\n", ClusterDown},
		{"-CLUSTERDOWN The cluster is down\r\n", ClusterDown},
		{"-CROSSSLOT Keys in request don't hash to the same slot\r\n", CrossSlot},
		{"-LOADING Valkey is loading the dataset in memory\r\n", Loading},
		{"-MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.\r\n", MasterDown},
		{"-READONLY You can't write against a read only replica.\r\n", ReadOnly},
		{"-NOSCRIPT No matching script.\r\n", NoScript},
		{"-BUSY Valkey is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.\r\n", Busy},
		{"-NOAUTH Authentication required.\r\n", NoAuth},
		{"-WRONGPASS invalid username-password pair or user is disabled.\r\n", WrongPass},
		{"-NOPERM this user has no permissions\r\n", NoPerm},
		{"-NOPROTO unsupported protocol version\r\n", NoProto},
		{"-NOREPLICAS Not enough good replicas to write.\r\n", NoReplicas},
		{"-MISCONF Errors writing to the AOF file\r\n", Misconf},
		{"-OOM command not allowed when used memory > 'maxmemory'.\r\n", OOM},
		{"-UNBLOCKED force unblock from blocking operation, instance state changed\r\n", Unblocked},
		{"-EXECABORT Transaction discarded because of previous errors.\r\n", ExecAbort},
		{"-OOM\r\n", OOM}, {"-OOM", OOM}, {"-CLUSTERDOWN", ClusterDown}, {"-CLUSTERDOWN\r\n", ClusterDown},
		{"-ERR MOVED 7 10.0.0.1:6379\r\n", Other}, {"-moved 7 a:1\r\n", Other}, {"-MOVEDX 7 a:1\r\n", Other}, {"- MOVED 7 a:1\r\n", Other},
		{"-MOVED\t7 a:1\r\n", Other}, {"-CLUSTERDOWNX\r\n", Other}, {"-CLUSTERDOW\r\n", Other}, {"-BUSYKEY Target key name already exists.\r\n", Other},
		{"-BUSYGROUP x\r\n", Other}, {"-ASKING\r\n", Other}, {"-WRONGTYPE x\r\n", Other}, {"-\r\n", Other}, {"-", Other}, {"", Other},
		{"+MOVED 7 a:1\r\n", Other}, {"MOVED 7 a:1\r\n", Other}, {"--MOVED 7 a:1\r\n", Other},
	}
	for _, tt := range tests {
		if got := Classify([]byte(tt.line)); got != tt.want {
			t.Errorf("Classify(%q) = %d, want %d", tt.line, got, tt.want)
		}
	}
}

func TestRedirectsAreRead(t *testing.T) {
	long := strings.Repeat("a", 255)
	tests := []struct {
		line string
		want Redirect
		addr string
	}{
		{"-MOVED 7 10.0.0.1:6379\r\n", Redirect{7, "10.0.0.1", 6379}, "10.0.0.1:6379"},
		{"-ASK 16383 10.0.0.1:65535\r\n", Redirect{16383, "10.0.0.1", 65535}, "10.0.0.1:65535"},
		{"-MOVED 0 node-3.example:1\r\n", Redirect{0, "node-3.example", 1}, "node-3.example:1"},
		{"-MOVED 7 ::1:7000\r\n", Redirect{7, "::1", 7000}, "[::1]:7000"},
		{"-MOVED 7 [::1]:7000\r\n", Redirect{7, "::1", 7000}, "[::1]:7000"},
		{"-MOVED 7 fe80::1%eth0:7000\r\n", Redirect{7, "fe80::1%eth0", 7000}, "[fe80::1%eth0]:7000"},
		{"-MOVED 7 :7000\r\n", Redirect{7, "", 7000}, ":7000"},
		{"-MOVED 7 ?:7000\r\n", Redirect{7, "?", 7000}, "?:7000"},
		{"-MOVED 7 a:7000", Redirect{7, "a", 7000}, "a:7000"},
		{"-MOVED 7 " + long + ":7000\r\n", Redirect{7, long, 7000}, long + ":7000"},
	}
	for _, tt := range tests {
		got, ok := ParseRedirect([]byte(tt.line))
		if !ok || got != tt.want || got.Addr() != tt.addr {
			t.Errorf("ParseRedirect(%q) = %+v, %v (%s), want %+v (%s)", tt.line, got, ok, got.Addr(), tt.want, tt.addr)
		}
	}
}

func TestOddRedirectsAreRefused(t *testing.T) {
	for _, line := range []string{
		"", "-MOVED", "-MOVED\r\n", "-MOVED 7\r\n", "-MOVED 7 \r\n", "-MOVED 7 a\r\n", "-MOVED a:1\r\n", "-MOVED  7 a:1\r\n", "-MOVED 7  a:1\r\n",
		"-MOVED 7 a:1 \r\n", "-MOVED 7 a:1 b:2\r\n", "-MOVED 16384 a:1\r\n", "-MOVED -1 a:1\r\n", "-MOVED 65543 a:1\r\n", "-MOVED 07 a:1\r\n",
		"-MOVED +7 a:1\r\n", "-MOVED x a:1\r\n", "-MOVED 7 a:0\r\n", "-MOVED 7 a:65536\r\n", "-MOVED 7 a:71915\r\n", "-MOVED 7 a:-1\r\n",
		"-MOVED 7 a:01\r\n", "-MOVED 7 a:\r\n", "-MOVED 7 a:http\r\n", "-MOVED 7 a:1@17000\r\n", "-MOVED 7 a b:1\r\n", "-MOVED 7 a\x00:1\r\n",
		"-MOVED 7 \xe4:1\r\n", "-MOVED 7 a\x7f:1\r\n", "-MOVED 7 [::1:1\r\n", "-MOVED 7 ::1]:1\r\n", "-MOVED 7 []:1\r\n", "-MOVED 7 [[::1]]:1\r\n",
		"-MOVED 7 a[b]:1\r\n", "-MOVED 7 " + strings.Repeat("a", 256) + ":1\r\n", "-MOVED 7 " + strings.Repeat("a", 300) + ":1\r\n",
		"-MOVED 7 a:1\n", "-MOVED 7 a:1\r", "-MOVED 7 a:1\r\n\r\n", "-MOVED 7 a\r\n:1\r\n", "-MOVED\t7 a:1\r\n", "+MOVED 7 a:1\r\n", "-moved 7 a:1\r\n",
		"-ERR MOVED 7 a:1\r\n", "-TRYAGAIN 7 a:1\r\n", "MOVED 7 a:1\r\n",
	} {
		if got, ok := ParseRedirect([]byte(line)); ok || got != (Redirect{}) {
			t.Errorf("ParseRedirect(%q) = %+v, %v, want refused", line, got, ok)
		}
	}
}
