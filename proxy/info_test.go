package proxy

import (
	"regexp"
	"strconv"
	"strings"
	"testing"

	"slotproxy/internal/testcluster"
)

func TestINFOSpeaksOfAllPrimaries(t *testing.T) {
	for _, tc := range []struct {
		name  string
		field string
		nodes []string
		want  string
	}{
		{"sums", "total_commands_processed", []string{"5", "7", "0"}, "12"},
		{"sums with the digits of the nodes", "instantaneous_input_kbps", []string{"0.25", "1.50", "0.00"}, "1.75"},
		{"a save that failed on one node has failed", "rdb_last_bgsave_status", []string{"ok", "err", "ok"}, "err"},
		{"and is well when it is on all", "aof_last_write_status", []string{"ok", "ok", "ok"}, "ok"},
		{"what one node does is under way", "rdb_bgsave_in_progress", []string{"0", "0", "1"}, "1"},
		{"a node that loads", "loading", []string{"0", "1", "0"}, "1"},
		{"the longest save", "rdb_last_bgsave_time_sec", []string{"-1", "4", "3"}, "4"},
		{"the oldest save", "rdb_last_save_time", []string{"1700000300", "1700000100", "1700000200"}, "1700000100"},
		{"functions are the same everywhere", "number_of_functions", []string{"4", "4", "4"}, "4"},
		{"words are the first node's", "maxmemory_policy", []string{"noeviction", "allkeys-lru", "noeviction"}, "noeviction"},
	} {
		var texts []string
		for _, v := range tc.nodes {
			texts = append(texts, "# Section\r\n"+tc.field+":"+v+"\r\n")
		}
		if got, want := newInfoMerge(nil, texts).text(texts[0]), "# Section\r\n"+tc.field+":"+tc.want+"\r\n"; got != want {
			t.Errorf("%s: nodes say %s %q, the cluster %q, want %q", tc.name, tc.field, tc.nodes, got, want)
		}
	}
}

func TestTheFieldsOfINFOAgreeWithEachOther(t *testing.T) {
	for _, v := range testcluster.Need(t) {
		t.Run(string(v), func(t *testing.T) {
			cl := testcluster.ForTest(t, testcluster.Options{Version: v})
			_, addr := serve(t, Config{Info: faceOf(v)}, cl.Addrs()...)
			c := connect(t, addr)
			c.send("EVAL return(1) 0", "SET key "+strings.Repeat("x", 5000))
			c.want(":1", "+OK")
			fields := map[string]string{}
			for _, m := range regexp.MustCompile(`(?m)^(\w+):(.*)\r$`).FindAllStringSubmatch(c.reply("INFO"), -1) {
				fields[m[1]] = m[2]
			}
			is := func(name string) float64 { n, _ := strconv.ParseFloat(fields[name], 64); return n }
			for name, text := range fields {
				if of, ok := strings.CutSuffix(name, "_human"); ok && text != human(is(of)) {
					t.Errorf("%s:%s beside %s:%s", name, text, of, fields[of])
				}
			}
			if is("used_memory") == 0 || is("used_memory_peak") < is("used_memory") {
				t.Errorf("used_memory:%s beside used_memory_peak:%s", fields["used_memory"], fields["used_memory_peak"])
			}
			if got, want := fields["used_memory_peak_perc"], twoDigits(100*is("used_memory")/is("used_memory_peak"))+"%"; got != want {
				t.Errorf("used_memory_peak_perc:%s, want %s", got, want)
			}
			if got, want := fields["allocator_rss_ratio"], twoDigits(is("allocator_resident")/is("allocator_active")); got != want {
				t.Errorf("allocator_rss_ratio:%s, want %s", got, want)
			}
		})
	}
}
