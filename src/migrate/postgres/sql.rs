//! The probe's text. Every name is qualified, operators too, and no construct is used that looks one up by the
//! search path (`IN`, `LIKE`, `IS DISTINCT FROM`, `NULLIF`, `CASE x WHEN`): whatever a client has put in front of
//! `pg_catalog`, the same functions run.

/// The columns that any user may read, up to the last ones.
macro_rules! probe {
    ($identity:literal) => {
        concat!(
            "SELECT pg_catalog.current_setting('server_version_num'::pg_catalog.text)::pg_catalog.int4, ",
            "pg_catalog.pg_is_in_recovery(), ",
            "d.datname::pg_catalog.text, ",
            "d.oid, ",
            "pg_catalog.pg_encoding_to_char(d.encoding)::pg_catalog.text, ",
            "d.datcollate::pg_catalog.text, ",
            "d.datctype::pg_catalog.text, ",
            "SESSION_USER::pg_catalog.text, ",
            "pg_catalog.current_setting('role'::pg_catalog.text), ",
            "pg_catalog.current_setting('is_superuser'::pg_catalog.text), ",
            "(SELECT pg_catalog.count(*) FROM pg_catalog.pg_locks AS l ",
            "WHERE l.locktype OPERATOR(pg_catalog.=) 'advisory'::pg_catalog.text ",
            "AND l.pid OPERATOR(pg_catalog.=) pg_catalog.pg_backend_pid()), ",
            "(SELECT pg_catalog.count(*) FROM pg_catalog.pg_depend AS t ",
            "WHERE t.refclassid OPERATOR(pg_catalog.=) ",
            "'pg_catalog.pg_namespace'::pg_catalog.regclass::pg_catalog.oid ",
            "AND t.refobjid OPERATOR(pg_catalog.=) pg_catalog.pg_my_temp_schema()), ",
            "(SELECT pg_catalog.count(*) FROM pg_catalog.pg_cursors AS c WHERE c.is_holdable), ",
            "ARRAY(SELECT n FROM pg_catalog.pg_listening_channels() AS n), ",
            "ARRAY(SELECT ARRAY[p.name, p.parameter_types::pg_catalog.oid[]::pg_catalog.text, ",
            "pg_catalog.length(p.statement)::pg_catalog.text, ",
            // In the encoding that it is kept in, so that nothing fails to be converted; md5() fails where only FIPS is allowed.
            "pg_catalog.encode(pg_catalog.substr(pg_catalog.sha256(pg_catalog.convert_to(p.statement, ",
            "pg_catalog.getdatabaseencoding())), 1, 16), 'hex'::pg_catalog.text), ",
            "p.from_sql::pg_catalog.text] ",
            "FROM pg_catalog.pg_prepared_statements AS p), ",
            "ARRAY(SELECT ARRAY[s.name, s.setting, s.source, s.context] FROM pg_catalog.pg_settings AS s ",
            "WHERE (s.context OPERATOR(pg_catalog.=) 'user'::pg_catalog.text ",
            "OR s.context OPERATOR(pg_catalog.=) 'superuser'::pg_catalog.text) ",
            "AND s.name OPERATOR(pg_catalog.<>) 'transaction_isolation'::pg_catalog.text ",
            "AND s.name OPERATOR(pg_catalog.<>) 'transaction_read_only'::pg_catalog.text ",
            "AND s.name OPERATOR(pg_catalog.<>) 'transaction_deferrable'::pg_catalog.text), ",
            "ARRAY(SELECT pg_catalog.current_setting(u, true) FROM pg_catalog.unnest($1) AS u), ",
            $identity,
            " FROM pg_catalog.pg_database AS d ",
            "WHERE d.datname OPERATOR(pg_catalog.=) pg_catalog.current_database()",
        )
    };
}

/// With what tells one cluster from another. Behind a promotion the last checkpoint is of the old timeline for a while; the
/// names of the files that are written are not.
pub(super) const WITH_IDENTITY: &str = probe!(
    "(SELECT i.system_identifier::pg_catalog.text FROM pg_catalog.pg_control_system() AS i), \
     CASE WHEN pg_catalog.pg_is_in_recovery() \
     THEN (SELECT k.timeline_id FROM pg_catalog.pg_control_checkpoint() AS k) \
     ELSE pg_catalog.concat('x', pg_catalog.substr(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn()), \
     1, 8))::pg_catalog.bit(32)::pg_catalog.int4 END, \
     CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_last_wal_replay_lsn() \
     ELSE pg_catalog.pg_current_wal_lsn() END::pg_catalog.text"
);

/// Without it, for servers that keep it to themselves.
pub(super) const WITHOUT_IDENTITY: &str =
    probe!("NULL::pg_catalog.text, NULL::pg_catalog.int4, NULL::pg_catalog.text");

/// From OIDs to names: `$1` are OIDs, and of those that exist come OID, schema and name.
pub(super) const TYPE_NAMES: &str = concat!(
    "SELECT ARRAY(SELECT ARRAY[t.oid::pg_catalog.text, n.nspname::pg_catalog.text, t.typname::pg_catalog.text] ",
    "FROM pg_catalog.unnest($1) AS u ",
    "JOIN pg_catalog.pg_type AS t ON t.oid OPERATOR(pg_catalog.=) u::pg_catalog.oid ",
    "JOIN pg_catalog.pg_namespace AS n ON n.oid OPERATOR(pg_catalog.=) t.typnamespace)",
);

/// From names to OIDs: `$1` are schemas and names by turns, and of those that exist come OID, schema and name.
pub(super) const TYPE_OIDS: &str = concat!(
    "SELECT ARRAY(SELECT ARRAY[t.oid::pg_catalog.text, n.nspname::pg_catalog.text, t.typname::pg_catalog.text] ",
    "FROM pg_catalog.generate_series(1, pg_catalog.cardinality($1), 2) AS g ",
    "JOIN pg_catalog.pg_namespace AS n ",
    "ON n.nspname::pg_catalog.text OPERATOR(pg_catalog.=) ($1)[g] ",
    "JOIN pg_catalog.pg_type AS t ON t.typnamespace OPERATOR(pg_catalog.=) n.oid ",
    "AND t.typname::pg_catalog.text OPERATOR(pg_catalog.=) ($1)[g OPERATOR(pg_catalog.+) 1])",
);
