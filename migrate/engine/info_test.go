package engine

import (
	"slices"
	"testing"
)

func TestInfoIsReadByName(t *testing.T) {
	i := ReadInfo("# Server\r\nredis_version:7.2.4\r\nvalkey_version:9.1.0\r\nexecutable:/a:b\r\n\r\nused_memory:12\r\n" +
		"slave0:ip=1,port=2,state=online,offset=7,lag=0\r\nslave1:ip=1,port=3,state=wait_bgsave,offset=0\r\nslave_expires_tracked_keys:0\r\n" +
		"db10:keys=5,expires=3\r\ndb2:keys=1,expires=0\r\ndbx:keys=9\r\nno line of it\n")
	if v, valkey := i.Release(); v != "9.1.0" || !valkey {
		t.Errorf("release %q, Valkey's %v", v, valkey)
	}
	if i["executable"] != "/a:b" || i["nothing"] != "" || i.Number("used_memory") != 12 || i.Number("executable") != 0 {
		t.Errorf("read as %q", i)
	}
	if got := i.Databases(); !slices.Equal(got, []int{2, 10}) || i.Keys() != 6 {
		t.Errorf("databases %v with %d keys, want 2 and 10 with 6", got, i.Keys())
	}
	if got := i.Replicas(); len(got) != 1 || got[0] != i["slave0"] {
		t.Errorf("replicas %q", got)
	}
	if v, valkey := ReadInfo("redis_version:7.0.15\r\n").Release(); v != "7.0.15" || valkey {
		t.Errorf("release %q, Valkey's %v", v, valkey)
	}
	for _, reply := range []any{nil, ServerError("NOPERM"), int64(1), ""} {
		if i := ReadInfo(reply); len(i) != 0 || i.Keys() != 0 {
			t.Errorf("%v is read as %q", reply, i)
		}
	}
}

func TestWhatKeysNeedIsTakenFromTheMemoryInUseAndNotFromTheNodesOwnSum(t *testing.T) {
	for _, tt := range []struct {
		name, memory string
		want         int64
	}{
		{"Valkey 8.0 after many slots were emptied", "used_memory:5294024\r\nused_memory_startup:2723912\r\nmem_clients_normal:493456\r\n" +
			"used_memory_dataset:18446744073708933304\r\n", 5294024 - 2723912 - 493456},
		{"what is kept for others", "used_memory:900\r\nused_memory_startup:500\r\nmem_clients_normal:10\r\nmem_clients_slaves:20\r\n" +
			"mem_replication_backlog:30\r\nmem_aof_buffer:40\r\n", 300},
		{"no keys", "used_memory:900\r\nused_memory_startup:880\r\nmem_clients_normal:30\r\n", 0},
		{"no answer", "", 0},
	} {
		if got := ReadInfo(tt.memory).Dataset(); got != tt.want {
			t.Errorf("%s: keys need %d bytes, want %d", tt.name, got, tt.want)
		}
	}
	if n := ReadInfo("used_memory_dataset:18446744073708933304").Number("used_memory_dataset"); n != 0 {
		t.Errorf("a number that is too large is read as %d, want 0", n)
	}
}

func TestPartsOfAValueAreFoundByTheirWholeName(t *testing.T) {
	for _, tt := range []struct {
		value, name string
		want        int64
		ok          bool
	}{
		{"keys=3,expires=0", "keys", 3, true},
		{"keys=3,expires=0", "expires", 0, true},
		{"keys=3,expires=0", "key", 0, false},
		{"offset=x", "offset", 0, false},
		{"", "offset", 0, false},
	} {
		if got, ok := Part(tt.value, tt.name); got != tt.want || ok != tt.ok {
			t.Errorf("%s of %q is %d %v, want %d %v", tt.name, tt.value, got, ok, tt.want, tt.ok)
		}
	}
}

func TestATargetThatIsFullStillTakesSlotsWithoutKeys(t *testing.T) {
	j := &job{}
	for _, tt := range []struct {
		used, limit string
		bytes       int64
		fits        bool
	}{
		{"99", "100", 0, true}, {"99", "100", 1, false}, {"97", "100", 1, true}, {"97", "100", 2, false}, {"1000", "0", 1 << 40, true},
	} {
		err := j.checkMemory(Info{"used_memory": tt.used, "maxmemory": tt.limit}, tt.bytes)
		if (err == nil) != tt.fits {
			t.Errorf("%d bytes more on a target that uses %s of %s: %v, want that they fit: %v", tt.bytes, tt.used, tt.limit, err, tt.fits)
		}
	}
}
