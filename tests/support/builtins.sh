#!/bin/bash
# Writes src/route/builtins.rs: what is known about the functions of pg_catalog and information_schema.
#
#   tests/support/builtins.sh 'host=… port=…' 'host=… port=…' … >src/route/builtins.rs
#
# Each argument is a connection to a freshly initialised server, oldest first, one of each major version to cover.
# A name is a read if every function of that name, on every version that has one, is stable or immutable, or is in
# the reviewed list of harmless volatile ones, and is in none of the deny groups below. It counts from the version on
# after which every covered version has it: before that, the name is free for a function of the user's.
set -euo pipefail

# Volatile, but with no effect, and either the same answer everywhere or one that only tells which server answers.
harmless="array_sample array_shuffle clock_timestamp current_query gen_random_uuid random random_normal timeofday
uuidv4 uuidv7
pg_sleep pg_sleep_for pg_sleep_until
pg_is_in_recovery pg_is_wal_replay_paused pg_get_wal_replay_pause_state pg_last_wal_receive_lsn
pg_last_wal_replay_lsn pg_last_xact_replay_timestamp pg_stat_get_recovery_prefetch
pg_control_checkpoint pg_control_init pg_control_recovery pg_control_system pg_jit_available
pg_collation_actual_version pg_database_collation_actual_version
pg_database_size pg_indexes_size pg_relation_size pg_table_size pg_tablespace_size pg_total_relation_size
pg_partition_ancestors pg_partition_tree"

# They execute SQL text that they are given, or read a relation that they are given by name, whatever their volatility.
runs_sql="query_to_xml query_to_xmlschema query_to_xml_and_xmlschema
cursor_to_xml cursor_to_xmlschema table_to_xml table_to_xmlschema table_to_xml_and_xmlschema
schema_to_xml schema_to_xmlschema schema_to_xml_and_xmlschema
database_to_xml database_to_xmlschema database_to_xml_and_xmlschema
ts_stat ts_rewrite"

# A value that belongs to the session or names a process of the server the client believes to be connected to.
session="currval lastval pg_backend_pid pg_blocking_pids pg_safe_snapshot_blocking_pids
pg_isolation_test_session_is_blocked pg_lock_status pg_cursor pg_prepared_statement pg_prepared_xact
pg_listening_channels pg_my_temp_schema pg_is_other_temp_schema pg_show_all_settings pg_trigger_depth
pg_stat_get_activity pg_stat_get_backend_activity pg_stat_get_backend_activity_start
pg_stat_get_backend_client_addr pg_stat_get_backend_client_port pg_stat_get_backend_dbid
pg_stat_get_backend_idset pg_stat_get_backend_pid pg_stat_get_backend_start pg_stat_get_backend_subxact
pg_stat_get_backend_userid pg_stat_get_backend_wait_event pg_stat_get_backend_wait_event_type
pg_stat_get_backend_xact_start pg_stat_get_backend_io pg_stat_get_backend_wal
pg_stat_clear_snapshot pg_stat_force_next_flush pg_get_backend_memory_contexts pg_export_snapshot
pg_stat_get_xact_blocks_fetched pg_stat_get_xact_blocks_hit pg_stat_get_xact_function_calls
pg_stat_get_xact_function_self_time pg_stat_get_xact_function_total_time pg_stat_get_xact_numscans
pg_stat_get_xact_tuples_deleted pg_stat_get_xact_tuples_fetched pg_stat_get_xact_tuples_hot_updated
pg_stat_get_xact_tuples_inserted pg_stat_get_xact_tuples_newpage_updated pg_stat_get_xact_tuples_returned
pg_stat_get_xact_tuples_updated
lo_close lo_lseek lo_lseek64 lo_open lo_tell lo_tell64 loread"

# Files and memory of one machine; what a standby answers otherwise or refuses (WAL positions, sequences as logged
# ahead, the outcome of a recent transaction, replication).
server="pg_read_file pg_read_file_old pg_read_binary_file pg_stat_file pg_ls_dir pg_ls_archive_statusdir pg_ls_logdir
pg_ls_logicalmapdir pg_ls_logicalsnapdir pg_ls_replslotdir pg_ls_summariesdir pg_ls_tmpdir pg_ls_waldir
pg_current_logfile pg_hba_file_rules pg_ident_file_mappings pg_show_all_file_settings
pg_current_wal_flush_lsn pg_current_wal_insert_lsn pg_current_wal_lsn pg_walfile_name pg_walfile_name_offset
pg_sequence_last_value pg_get_sequence_data pg_xact_status txid_status pg_last_committed_xact
pg_xact_commit_timestamp pg_xact_commit_timestamp_origin pg_get_multixact_members currtid2
pg_get_replication_slots pg_stat_get_wal_senders pg_show_replication_origin_status
pg_replication_origin_progress pg_replication_origin_session_progress pg_replication_origin_session_is_setup
pg_notification_queue_usage pg_get_shmem_allocations pg_get_shmem_allocations_numa pg_get_aios
pg_get_loaded_modules pg_get_wait_events pg_get_wal_resource_managers pg_get_wal_summarizer_state
pg_available_wal_summaries pg_wal_summary_contents pg_stat_get_io pg_stat_have_stats
binary_upgrade_logical_slot_has_caught_up lo_get"

# Session-level advisory locks: a standby grants its own. The transaction-level ones are plain effects.
advisory="pg_advisory_lock pg_advisory_lock_shared pg_try_advisory_lock pg_try_advisory_lock_shared
pg_advisory_unlock pg_advisory_unlock_shared pg_advisory_unlock_all"

# Stable or immutable by their mark, yet they assign a transaction id or change something.
effect="txid_current pg_current_xact_id"

# Nothing is said about these: they run type input by a name in a text, or exist for the server's own calls.
unlisted="pg_input_is_valid pg_input_error_info fmgr_c_validator fmgr_internal_validator fmgr_sql_validator
pg_event_trigger_ddl_commands pg_event_trigger_dropped_objects pg_event_trigger_table_rewrite_oid
pg_event_trigger_table_rewrite_reason"

# name|read or volatile, of every function that a query could call: no trigger, handler, procedure, none that takes
# or gives an internal value or a C string.
functions="select case n.nspname when 'pg_catalog' then '' else n.nspname || '.' end || p.proname,
       bool_and(p.provolatile <> 'v')
  from pg_proc p join pg_namespace n on n.oid = p.pronamespace
 where n.nspname in ('pg_catalog', 'information_schema') and p.oid < 16384 and p.prokind <> 'p'
   and p.prorettype not in ('trigger'::regtype, 'event_trigger'::regtype, 'language_handler'::regtype,
       'fdw_handler'::regtype, 'index_am_handler'::regtype, 'table_am_handler'::regtype, 'tsm_handler'::regtype,
       'internal'::regtype, 'cstring'::regtype)
   and not 'internal'::regtype = any (p.proargtypes) and not 'cstring'::regtype = any (p.proargtypes)
   and p.proname !~ '^plpgsql_'
 group by 1"

versions=()
for server_dsn in "$@"; do
    major=$(psql -X "$server_dsn" -Atc "select current_setting('server_version_num')::int / 10000")
    versions+=("$major")
    psql -X "$server_dsn" -AtF' ' -c "$functions" | sed "s/^/$major /"
done | awk -v harmless="$harmless" -v runs_sql="$runs_sql" -v session="$session" -v server="$server" \
    -v advisory="$advisory" -v effect="$effect" -v unlisted="$unlisted" '
function group(names, deed,   list, n, i) {
    n = split(names, list)
    for (i = 1; i <= n; i++) deeds[list[i]] = deed
}
BEGIN {
    n = split(harmless, list); for (i = 1; i <= n; i++) is_harmless[list[i]] = 1
    n = split(unlisted, list); for (i = 1; i <= n; i++) is_unlisted[list[i]] = 1
    group(runs_sql, "RunsSql"); group(session, "SessionState"); group(server, "ServerState")
    group(advisory, "AdvisoryLock"); group(effect, "Effect")
    group("nextval setval", "Sequence"); group("set_config", "SetConfig"); group("setseed", "SetSeed")
}
{
    if (!($1 in seen)) { seen[$1] = 1; order[++count] = $1 }
    has[$2, $1] = 1; names[$2] = 1
    if ($3 == "f" && !($2 in is_harmless)) volatile[$2] = 1
}
END {
    for (i = 1; i <= count; i++) versions = versions (i > 1 ? ", " : "") order[i]
    print "//! What is known about the functions of `pg_catalog` and `information_schema`."
    print "//!"
    print "//! Generated by `tests/support/builtins.sh` from PostgreSQL " versions ", where the groups and their reasons are."
    print ""
    print "use super::intent::Deed;"
    print ""
    print "/// The oldest server version that the tables cover."
    print "pub(super) const OLDEST: u8 = " order[1] ";"
    for (name in deeds) if (name in names) not_read[name] = deeds[name]
    for (name in names) {
        if (name in is_unlisted || name in deeds) continue
        if (name in volatile) { not_read[name] = "Effect"; continue }
        since = 0
        for (i = count; i >= 1 && (name, order[i]) in has; i--) since = order[i]
        gone = 0
        for (; i >= 1; i--) if ((name, order[i]) in has) gone = 1
        if (since && !gone) reads[name] = since
    }
    wrap = "LC_ALL=C sort -t\047|\047 -k1,1 | sed \047s/^[^|]*|//\047 | paste -sd\047 \047 | fold -sw 114 | sed \047s/^/    /; s/ *$//\047"
    print ""
    print "/// Reads, in byte order."
    print "#[rustfmt::skip]"
    print "pub(super) const READS: &[&str] = &["
    for (name in reads) if (reads[name] == order[1]) printf "%s|\"%s\",\n", name, name | wrap
    close(wrap)
    print "];"
    print ""
    print "/// Reads that a later version brought, in byte order; the first covered version that has each."
    print "#[rustfmt::skip]"
    print "pub(super) const LATER_READS: &[(&str, u8)] = &["
    for (name in reads) if (reads[name] != order[1]) printf "%s|(\"%s\",@%s),\n", name, name, reads[name] | (wrap " | tr @ \047 \047")
    close(wrap " | tr @ \047 \047")
    print "];"
    print ""
    print "/// What is no read, and why, in byte order."
    print "#[rustfmt::skip]"
    print "pub(super) const NOT_READS: &[(&str, Deed)] = &["
    for (name in not_read) printf "%s|(\"%s\",@Deed::%s),\n", name, name, not_read[name] | (wrap " | tr @ \047 \047")
    close(wrap " | tr @ \047 \047")
    print "];"
}'
