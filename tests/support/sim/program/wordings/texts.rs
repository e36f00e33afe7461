//! The words.

/// How a setting is changed, and how it is taken back.
pub(super) type Changes = (&'static [&'static str], &'static [&'static str]);

/// Settings by which a server reads texts, as they are changed and as they are taken back: of strings, of characters, of
/// names.
pub(super) const STRINGS: Changes = (
    &[
        "set standard_conforming_strings = off",
        "set session standard_conforming_strings to 'off'",
        "set \"standard_conforming_strings\" = false",
        "select set_config('standard_conforming_strings', 'off', false)",
    ],
    &[
        "set standard_conforming_strings = on",
        "reset standard_conforming_strings",
        "set standard_conforming_strings to default",
    ],
);
pub(super) const CHARACTERS: Changes = (
    &[
        "set client_encoding = 'SJIS'",
        "set names 'sjis'",
        "set session client_encoding to sjis",
        "select set_config('client_encoding', 'sjis', false)",
    ],
    &[
        "set names 'utf8'",
        "set client_encoding to latin1",
        "set names",
        "reset client_encoding",
    ],
);
pub(super) const NAMES: Changes = (
    &[
        "set search_path = app, pg_catalog, public",
        "set search_path to app, \"pg_catalog\", public",
        "set session search_path = 'app', 'pg_catalog', 'public'",
        "select set_config('search_path', 'app, pg_catalog, public', false)",
    ],
    &[
        "set search_path = app, public",
        "set search_path = pg_catalog, app, public",
        "reset search_path",
        "set search_path to default",
    ],
);

/// What stands between two words and says nothing, or hides the rest; a server ends a comment where a line ends by either
/// character.
pub(super) const GAPS: [&str; 24] = [
    "--c\r",
    "--c\n",
    "--\r",
    "--\r\n",
    "--c\r--d\n",
    "--c\n--d\r",
    "--c\u{c}\r",
    "--c\u{c}",
    "--'\r",
    "--\"\r",
    "--$$\r",
    "--/*\r",
    "--\\\r",
    "--*/\n",
    "/* c */",
    "/**/\n",
    "/* a /* b */ c */",
    "/*/**/*/\r",
    "/*'*/",
    "/* --\r */",
    "/* a /* b */",
    "/*/**/ select 1 --*/",
    "/* a /*/* b */*/ select 1 --*/",
    "--c",
];

/// How a transaction begins, and how it ends.
pub(super) const BEGINS: [&str; 8] = [
    "begin work",
    "begin transaction",
    "start transaction",
    "BEGIN /* now */ WORK",
    "begin work isolation level read committed",
    "start transaction isolation level read committed, read write",
    "begin transaction read write, not deferrable",
    "begin",
];
pub(super) const BEGINS_TO_READ: [&str; 4] = [
    "begin work read only",
    "begin transaction isolation level repeatable read read only",
    "start transaction read only, not deferrable",
    "start transaction isolation level read committed, read only",
];
pub(super) const ENDS: [&str; 16] = [
    "commit work",
    "commit transaction",
    "commit and no chain",
    "end",
    "end work",
    "END TRANSACTION",
    "end transaction and no chain",
    "commit",
    "abort",
    "abort work",
    "abort transaction",
    "abort work and no chain",
    "rollback work",
    "rollback transaction",
    "rollback work and no chain",
    "prepare transaction 'p'",
];
pub(super) const CHAINS: [&str; 5] = [
    "commit and chain",
    "commit work and chain",
    "end transaction and chain",
    "rollback work and chain",
    "abort and chain",
];
pub(super) const BACK: [&str; 8] = [
    "rollback to a",
    "rollback to savepoint a",
    "rollback work to savepoint a",
    "rollback transaction to a",
    "ROLLBACK WORK TO A",
    "rollback to \"a\"",
    "rollback transaction to savepoint \"a\"",
    "rollback /**/ work to/**/a",
];

/// What makes something of the name `tmp` that only the session's server has.
pub(super) const TEMPORARY: [&str; 23] = [
    "create local temp table tmp (a int)",
    "create local temporary table tmp (a int)",
    "create global temp table tmp (a int)",
    "create global temporary table tmp (a int)",
    "create temporary table tmp (a int)",
    "CREATE TEMP TABLE IF NOT EXISTS Tmp (a int)",
    "create table pg_temp.tmp (a int)",
    "create table \"pg_temp\".tmp (a int)",
    "explain select 1; create table pg_temp.tmp (a int)",
    "copy (select 1) to stdout; create table pg_temp.tmp (a int)",
    "create temp table tmp as select 1 as a",
    "create local temp table tmp as select 2 as a",
    "select 1 as a into temp tmp",
    "select 1 as a into temporary table tmp",
    "select 1 as a into local temp tmp",
    "select 1 as a into global temporary table tmp",
    "select 1 as a into pg_temp.tmp",
    "create temp view tmp as select 1 as a",
    "create or replace local temporary view tmp as select 2 as a",
    "explain analyze create temp table tmp as select 1 as a",
    "explain analyze create local temporary table tmp as select 3 as a",
    "prepare q as select 3 as a into temp tmp; execute q",
    "set search_path = pg_temp, public; create table tmp (a int)",
];

/// Settings of one transaction: those that a transaction of reads may have on the reader, and others.
pub(super) const LOCALS: [&str; 8] = [
    "set local statement_timeout = 1000",
    "set local statement_timeout to '2s'",
    "set local extra_float_digits = 2",
    "set local enable_seqscan to off",
    "set local work_mem = '8MB'",
    "set local my.a = 'local'",
    "select set_config('my.a', 'local', true)",
    "set local time zone 'CET'",
];

/// Settings of the session, in the words that there are for them.
pub(super) const SETTINGS: [&str; 50] = [
    "set session my.a = 'session'",
    "set my.a to 'to'",
    "set my . a = 'apart'",
    "set \"my\".\"a\" = 'quoted'",
    "set \"my.a\" to 'whole'",
    "SET MY.A TO 'Loud'",
    "set /* local */ my.a = 'comment'",
    "set my.a = 'a', 'b'",
    "set my.a = $$dollar$$",
    "set my.a = e'escape'",
    "set my.a to default",
    "reset my.a",
    "RESET \"my\".a",
    "select set_config('my.a', 'called', false)",
    "select pg_catalog.set_config('MY.a', 'qualified', false)",
    "select set_config('my.a', 'local', true)",
    "select set_config('my.a', 'it''s', false), 1",
    "explain select 1; select set_config('my.a', 'explained', false)",
    "copy (select 1) to stdout; select set_config('my.a', 'copied', false)",
    "set local my.a = 'local'",
    "set time zone 'Europe/Berlin'",
    "set session time zone 'UTC'",
    "set local time zone 'CET'",
    "set time zone local",
    "set time zone default",
    "set time zone 5",
    "set time zone -3",
    "set timezone to 'Asia/Tokyo'",
    "SET \"TimeZone\" = 'GMT'",
    "reset time zone",
    "reset timezone",
    "set session characteristics as transaction read only",
    "set session characteristics as transaction read write, isolation level repeatable read",
    "set session characteristics as transaction isolation level read committed",
    "set session characteristics as transaction not deferrable",
    "reset default_transaction_isolation",
    "set schema 'app'",
    "set search_path = \"$user\", app, public",
    "set datestyle to iso, ymd",
    "set datestyle = 'SQL', 'dmy'",
    "set application_name = unquoted",
    "set application_name to \"Quoted\"",
    "set application_name = 'it''s'",
    "set session application_name to default",
    "set work_mem = 100",
    "set statement_timeout to '2s'",
    "set session role m_role",
    "set role to none",
    "set session authorization default",
    "reset session authorization",
];

/// Reads that show settings.
pub(super) const SHOWN: [&str; 6] = [
    "select current_setting('my.a', true)",
    "show time zone",
    "show application_name",
    "select current_setting('datestyle')",
    "select current_user",
    "select 1",
];
