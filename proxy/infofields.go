package proxy

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
)

// The fields of INFO that the cluster has as a whole, by how those of its primaries become one. Every other field is the
// first node's, as an example of what all of them say.
const (
	summedFields = `
used_memory used_memory_rss used_memory_peak used_memory_dataset used_memory_overhead used_memory_startup used_memory_lua
used_memory_vm_eval used_memory_vm_functions used_memory_vm_total used_memory_scripts used_memory_scripts_eval
used_memory_functions maxmemory total_system_memory allocator_allocated allocator_active allocator_resident allocator_muzzy
allocator_frag_bytes allocator_rss_bytes rss_overhead_bytes mem_fragmentation_bytes mem_not_counted_for_evict
mem_clients_normal mem_clients_slaves mem_replication_backlog mem_replicas_repl_buffer mem_total_replication_buffers
mem_cluster_links mem_cluster_slot_import mem_cluster_slot_export mem_aof_buffer mem_overhead_db_hashtable_rehashing
lazyfree_pending_objects lazyfreed_objects engines_total_used_memory engines_total_memory_overhead

rdb_changes_since_last_save rdb_saves rdb_last_cow_size rdb_last_load_keys_expired rdb_last_load_keys_loaded
current_cow_peak current_cow_size current_save_keys_processed current_save_keys_total aof_rewrites aof_last_cow_size
aof_current_size aof_base_size aof_buffer_length aof_pending_bio_fsync aof_delayed_fsync module_fork_last_cow_size

total_connections_received total_commands_processed instantaneous_ops_per_sec total_net_input_bytes total_net_output_bytes
total_net_repl_input_bytes total_net_repl_output_bytes total_net_cluster_slot_import_bytes
total_net_cluster_slot_export_bytes instantaneous_input_kbps instantaneous_output_kbps instantaneous_input_repl_kbps
instantaneous_output_repl_kbps rejected_connections sync_full sync_partial_ok sync_partial_err expired_keys expired_fields
expired_time_cap_reached_count expire_cycle_cpu_milliseconds evicted_keys evicted_clients evicted_scripts
total_eviction_exceeded_time keyspace_hits keyspace_misses pubsub_channels pubsub_patterns pubsubshard_channels
migrate_cached_sockets slave_expires_tracked_keys active_defrag_hits active_defrag_misses active_defrag_key_hits
active_defrag_key_misses total_active_defrag_time total_forks total_error_replies total_reads_processed
total_writes_processed io_threaded_reads_processed io_threaded_writes_processed io_threaded_freed_objects
io_threaded_accept_processed io_threaded_poll_processed io_threaded_total_prefetch_batches
io_threaded_total_prefetch_entries reply_buffer_shrinks reply_buffer_expands eventloop_cycles eventloop_duration_sum
eventloop_duration_cmd_sum instantaneous_eventloop_cycles_per_sec acl_access_denied_auth acl_access_denied_cmd
acl_access_denied_key acl_access_denied_channel acl_access_denied_db acl_access_denied_tls_cert unexpected_error_replies
dump_payload_sanitizations client_query_buffer_limit_disconnections client_output_buffer_limit_disconnections

used_cpu_sys used_cpu_user used_cpu_sys_children used_cpu_user_children used_cpu_sys_main_thread used_cpu_user_main_thread
used_active_time_main_thread blocked_clients pubsub_clients tracking_clients watching_clients clients_in_timeout_table
total_watched_keys total_blocking_keys total_blocking_keys_on_nokey tracking_total_keys tracking_total_items
tracking_total_prefixes`

	// What is under way in one node is under way in the cluster, and lasts as long as in the slowest. Scripts and functions
	// are the same in all.
	largestFields = `
loading async_loading rdb_bgsave_in_progress rdb_last_bgsave_time_sec rdb_current_bgsave_time_sec current_cow_size_age
aof_rewrite_in_progress aof_rewrite_scheduled aof_pending_rewrite aof_last_rewrite_time_sec aof_current_rewrite_time_sec
aof_rewrites_consecutive_failures module_fork_in_progress slot_migration_fork_in_progress active_defrag_running
current_active_defrag_time current_eviction_exceeded_time expired_stale_perc expired_keys_with_volatile_items_stale_perc
latest_fork_usec instantaneous_eventloop_duration_usec client_recent_max_input_buffer client_recent_max_output_buffer
number_of_cached_scripts number_of_functions number_of_libraries`

	// By then everything was saved.
	smallestFields = `rdb_last_save_time`

	// A save that failed anywhere has failed.
	worstFields = `rdb_last_bgsave_status aof_last_bgrewrite_status aof_last_write_status`
)

// infoJoins says how the values of a field become one, by its name.
var infoJoins = func() map[string]func(values []string) string {
	joins := map[string]func(values []string) string{}
	for fields, join := range map[string]func(values []string) string{
		summedFields: addedUp, largestFields: largestOf, smallestFields: smallestOf, worstFields: worstOf,
	} {
		for name := range strings.FieldsSeq(fields) {
			joins[name] = join
		}
	}
	return joins
}()

// infoRatios are the fields that follow from others.
var infoRatios = map[string]func(m *infoMerge) string{
	"used_memory_peak_perc": func(m *infoMerge) string {
		return twoDigits(100*m.sum("used_memory")/max(m.sum("used_memory_peak"), 1)) + "%"
	},
	"used_memory_dataset_perc": func(m *infoMerge) string {
		return twoDigits(100*m.sum("used_memory_dataset")/max(m.sum("used_memory")-m.sum("used_memory_startup"), 1)) + "%"
	},
	"mem_fragmentation_ratio": func(m *infoMerge) string {
		return twoDigits(m.sum("used_memory_rss") / max(m.sum("used_memory"), 1))
	},
	"allocator_frag_ratio": func(m *infoMerge) string { return m.excess("allocator_frag_bytes", "allocator_allocated") },
	"allocator_rss_ratio":  func(m *infoMerge) string { return m.excess("allocator_rss_bytes", "allocator_active") },
	"rss_overhead_ratio":   func(m *infoMerge) string { return m.excess("rss_overhead_bytes", "allocator_resident") },
}

// excess is how many times whole is there with what is more than it.
func (m *infoMerge) excess(more, whole string) string {
	return twoDigits(1 + m.sum(more)/max(m.sum(whole), 1))
}

func twoDigits(n float64) string { return strconv.FormatFloat(n, 'f', 2, 64) }

// sum adds up a field of all nodes.
func (m *infoMerge) sum(name string) float64 { return totalOf(m.values[name]) }

func totalOf(values []string) (total float64) {
	for _, v := range values {
		total += figure(v)
	}
	return total
}

// figure reads what a server wrote; what is no number counts nothing.
func figure(text string) float64 {
	n, _ := strconv.ParseFloat(text, 64)
	return n
}

// addedUp has as many digits as the nodes' own values.
func addedUp(values []string) string {
	_, digits, _ := strings.Cut(values[0], ".")
	return strconv.FormatFloat(totalOf(values), 'f', len(digits), 64)
}

func byFigure(a, b string) int { return cmp.Compare(figure(a), figure(b)) }

func largestOf(values []string) string  { return slices.MaxFunc(values, byFigure) }
func smallestOf(values []string) string { return slices.MinFunc(values, byFigure) }

// worstOf is the first that is not ok.
func worstOf(values []string) string {
	for _, v := range values {
		if v != "ok" {
			return v
		}
	}
	return values[0]
}
