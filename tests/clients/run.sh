#!/usr/bin/env bash
# Real clients at work, directly on the primary and through the proxy: what they print must be the same.
set -euo pipefail

usage() {
  cat <<'HELP'
usage: clients/run.sh CLUSTER_DIR PROXY [NAME...]

Runs psql, pgbench, psycopg 3, asyncpg and node-postgres directly on the primary of a cluster
(see cluster.sh) and through PROXY, the built example, with the split off and on, and compares.
With the split on it also checks, by the servers' logs and counters, that reads ran on the
standby and that no write did. NAMEs, such as `psql` or `pgbench`, select clients.

Prints a line per check and closes with `N passed, N failed, N skipped`.

  PGTURNOUT_CACHE      where drivers of Python and Node.js are installed; by default pgturnout/
                       in Cargo's target directory
  PGTURNOUT_COPY_MB    size of the file that psql copies both ways (5)
  PGTURNOUT_BENCH_N    transactions per pgbench run (640)

`moves` has every session of pgbench moved to and fro all the time, in each protocol mode: no
error, and in the tables what the same seed leaves there directly.

`switchover` is examples/migrate.sh in short, on a cluster of its own.
HELP
}

case ${1:---help} in -h | --help) usage && exit 0 ;; esac
if [ "$#" -lt 2 ]; then
  usage >&2
  exit 2
fi

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
repo=$(cd "$here/../.." && pwd)
cache=${PGTURNOUT_CACHE:-${CARGO_TARGET_DIR:-$repo/target}/pgturnout}
copy_mb=${PGTURNOUT_COPY_MB:-5}
bench_n=${PGTURNOUT_BENCH_N:-640}
cluster=$1
proxy=$2
shift 2
selected=" $* "

# shellcheck source=/dev/null
. "$cluster/env"
unset PGHOST
host=127.0.0.1
export PGCONNECT_TIMEOUT=20
work=$(mktemp -d)
proxy_pid=
trap 'stop_proxy; rm -rf "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
passed=0 failed=0 skipped=0

pass() {
  passed=$((passed + 1))
  printf 'ok      %s\n' "$1"
}

fail() { # NAME REASON [FILE]
  failed=$((failed + 1))
  printf 'FAILED  %s: %s\n' "$1" "$2"
  if [ -s "${3:-}" ]; then
    head -n 60 "$3" | sed 's/^/        /'
  fi
}

skip() { # NAME REASON
  skipped=$((skipped + 1))
  printf 'SKIPPED %s: %s\n' "$1" "$2"
}

# What get-drivers.sh could not get. Exit code 3: its language is not installed here.
undriven() { # CODE NAME REASON
  if [ "${CI:-}" = true ] && [ "$1" != 3 ]; then fail "$2" "$3"; else skip "$2" "$3"; fi
}

wanted() { # NAME
  case $selected in *" $1 "* | "  ") return 0 ;; *) return 1 ;; esac
}

# Minutes, for a driver that hangs would otherwise hold up everything.
limited() { # COMMAND ARG...
  if command -v timeout >/dev/null; then
    timeout 300 "$@"
  else
    "$@"
  fi
}

start_proxy() { # ARG...; sets `port`
  stop_proxy
  : >"$work/listening"
  bash "$here/../support/cluster.sh" run "$cluster" "$proxy" --listen "$host:0" \
    --writer "$host:$PRIMARY_PORT" --reader "$host:$STANDBY_PORT" \
    --user u_scram:u_scram-secret --user u_md5:u_md5-secret "$@" \
    </dev/null >"$work/listening" 2>"$work/proxy.log" &
  proxy_pid=$!
  local tries=0
  until port=$(sed -n 's/^listening on .*:\([0-9]*\)$/\1/p' "$work/listening") && [ -n "$port" ]; do
    tries=$((tries + 1))
    if [ "$tries" -gt 200 ] || ! kill -0 "$proxy_pid" 2>/dev/null; then
      fail "proxy" "it does not listen" "$work/proxy.log"
      exit 1
    fi
    sleep 0.05
  done
}

stop_proxy() {
  [ -n "$proxy_pid" ] || return 0
  kill "$proxy_pid" 2>/dev/null || true
  wait "$proxy_pid" 2>/dev/null || true
  proxy_pid=
}

sql() { # PORT SQL
  "$PGBIN/psql" -X -q -A -t -v ON_ERROR_STOP=1 -h "$host" -p "$1" -U "$SUPERUSER" -d "$DATABASE" -c "$2"
}

# --- Where statements ran ---------------------------------------------------------------------

# The statements of an application that the standby ran, one a line.
on_standby() { # APPLICATION
  { grep -F "u_trust@$DATABASE/$1 " "$DATA/standby.log" || true; } |
    { grep -E 'LOG:  (statement|execute [^:]*): ' || true; } |
    sed -E 's/^.*LOG:  (statement|execute [^:]*): //'
}

check_routes() { # NAME APPLICATION
  on_standby "$2" >"$work/standby"
  grep -iE '^[[:space:]]*(insert|update|delete|create|drop|truncate|merge)\b' "$work/standby" \
    >"$work/writes" || true
  if [ -s "$work/writes" ]; then
    fail "$1: writes stay off the standby" "these did not" "$work/writes"
  elif ! grep -qi '^select' "$work/standby"; then
    fail "$1: reads run on the standby" "none did" "$work/proxy.log"
  else
    pass "$1: $(wc -l <"$work/standby" | tr -d ' ') statements ran on the standby, none of them a write"
  fi
}

# --- The same work, three ways ----------------------------------------------------------------

# What two equal runs may print differently.
normalise() {
  sed -E -e 's/(process with PID )[0-9]+/\1N/' -e 's/^.*\(every 0\.05s\)$/(every 0.05s)/' \
    -e 's/port "[0-9]+"/port N/' -e "s#$work/##g"
}

# What one run made would be news to the next one.
start_over() { sql "$PRIMARY_PORT" "drop owned by u_trust cascade" >/dev/null; }

# COMMAND is a function of this script that takes a port and an application's name.
compare() { # NAME COMMAND
  local way
  start_over
  if ! "$2" "$PRIMARY_PORT" direct >"$work/direct.raw" 2>&1; then
    fail "$1" "it fails without the proxy too" "$work/direct.raw"
    return
  fi
  normalise <"$work/direct.raw" >"$work/direct"
  for way in off on; do
    start_proxy --split "$way" --log-routes
    start_over
    if ! "$2" "$port" "$1-$way" >"$work/proxied.raw" 2>&1; then
      tail -n 40 "$work/proxied.raw" >"$work/tail"
      fail "$1, split $way" "it fails through the proxy" "$work/tail"
      continue
    fi
    normalise <"$work/proxied.raw" >"$work/proxied"
    if diff "$work/direct" "$work/proxied" >"$work/diff"; then
      pass "$1, split $way: $(wc -l <"$work/direct" | tr -d ' ') lines as directly"
    else
      fail "$1, split $way" "it prints something else" "$work/diff"
    fi
  done
  check_routes "$1" "$1-on"
}

conninfo() { # PORT APPLICATION
  printf 'host=%s port=%s user=u_trust dbname=%s application_name=%s' "$host" "$1" "$DATABASE" "$2"
}

url() { # PORT APPLICATION
  printf 'postgresql://u_trust@%s:%s/%s?application_name=%s' "$host" "$1" "$DATABASE" "$2"
}

# --- psql -------------------------------------------------------------------------------------

psql_work() { # PORT APPLICATION
  cd "$here"
  limited "$PGBIN/psql" -X -a -d "$(conninfo "$@")" -f work.sql
}

psql_copy() { # PORT APPLICATION
  limited "$PGBIN/psql" -X -v ON_ERROR_STOP=1 -d "$(conninfo "$@")" <<SQL || return 1
drop table if exists psql_big;
create table psql_big (a int, b text);
\\copy psql_big from '$work/big'
select count(*), sum(length(b)) from psql_big;
\\copy psql_big to '$work/big.back'
SQL
  cmp "$work/big" "$work/big.back"
  rm -f "$work/big.back"
}

make_big_file() {
  # 1 KiB a row.
  awk -v rows=$((copy_mb * 1024)) 'BEGIN {
    row = sprintf("%1015s", ""); gsub(" ", "x", row)
    for (n = 0; n < rows; n++) printf "%08d\t%s\n", n, row
  }' | sed -E 's/^0+([0-9])/\1/' >"$work/big"
}

# --- Drivers ----------------------------------------------------------------------------------

python_here() {
  python=$(PGTURNOUT_CACHE=$cache bash "$here/../support/get-drivers.sh" python 2>"$work/python.log")
}

psycopg_work() { limited "$python" "$here/psycopg3.py" "$(conninfo "$@")"; }
asyncpg_work() { limited "$python" "$here/asyncpg_client.py" "$(url "$@")"; }

node_here() {
  node_path=$(PGTURNOUT_CACHE=$cache bash "$here/../support/get-drivers.sh" node 2>"$work/node.log")
}

node_work() {
  # Its warnings tell process ids.
  NODE_NO_WARNINGS=1 NODE_PATH=$node_path limited node "$here/node_pg.js" \
    "$(url "$@")"
}

# --- TLS toward the client --------------------------------------------------------------------

tls_work() { # PORT APPLICATION
  "$python" - "host=localhost port=$1 user=u_scram password=u_scram-secret dbname=$DATABASE \
sslmode=verify-full sslrootcert=$CA application_name=$2" <<'PYTHON'
import sys
import psycopg

with psycopg.connect(sys.argv[1], autocommit=True) as conn:
    assert conn.pgconn.ssl_in_use
    print(conn.execute("select pg_is_in_recovery()").fetchone())
    print(conn.execute("select length(repeat('x', 3000000)), repeat('y', 100000)").fetchone()[0])
PYTHON
}

tls() {
  # Without TLS behind it. With TLS on both legs a server that offers channel binding refuses a
  # client whose offer of it was not taken up, which is what the mechanism is there for.
  start_proxy --client-tls require --tls-cert "$CERT" --tls-key "$KEY" --upstream-tls disable
  if tls_work "$port" tls >"$work/tls" 2>&1 && [ "$(head -n 1 "$work/tls")" = "(True,)" ]; then
    pass "tls: a verifying client, with its reads on the standby"
  else
    fail "tls: a verifying client" "it fails" "$work/tls"
  fi
  if "$PGBIN/psql" -X -d "$(conninfo "$port" tls) sslmode=disable" -c 'select 1' >"$work/plain" 2>&1; then
    fail "tls: required" "a session without it was let in"
  else
    pass "tls: required, so a session without it is refused"
  fi
}

# --- pgbench ----------------------------------------------------------------------------------

commits() { # PORT
  sql "$1" "select pg_stat_clear_snapshot(); select xact_commit from pg_stat_database where datname = '$DATABASE'" |
    tail -n 1
}

bench() { # PORT SCRIPT PROTOCOL CLIENTS
  PGPASSWORD=u_scram-secret limited "$PGBIN/pgbench" -h "$host" -p "$1" -U u_scram -n -b "$2" \
    -M "$3" -c "$4" -j 2 -t $((bench_n / $4)) "$DATABASE" >"$work/bench" 2>"$work/bench.err"
}

# A number that pgbench printed behind these words.
told() { sed -n "s/^$1: \([0-9]*\).*/\1/p" "$work/bench"; }

bench_one() { # SCRIPT PROTOCOL CLIENTS
  local name="pgbench $1, $2, $3 clients" primary standby done_
  primary=$(commits "$PRIMARY_PORT") standby=$(commits "$STANDBY_PORT")
  if ! bench "$port" "$@"; then
    fail "$name" "pgbench failed" "$work/bench.err"
    return
  fi
  done_=$(told 'number of transactions actually processed')
  # Counters are certain only once the sessions have ended; pgbench's last close is not ours to see.
  sleep 0.3
  primary=$(($(commits "$PRIMARY_PORT") - primary)) standby=$(($(commits "$STANDBY_PORT") - standby))
  # A count of transactions, not a time: on a busy machine a second may go by in logins.
  local told="$done_ transactions, commits: $standby on the standby, $primary on the primary"
  if [ "${done_:-0}" -ne $((bench_n / $3 * $3)) ] || [ "$(told 'number of failed transactions')" != 0 ] ||
    grep -qvE '^(pgbench \(|$)' "$work/bench.err"; then
    fail "$name" "$told" "$work/bench.err"
  elif [ "$1" = select-only ] && { [ "$standby" -lt "$done_" ] || [ "$primary" -ge $((done_ / 2)) ]; }; then
    fail "$name" "reads are not on the standby: $told"
  elif [ "$1" = tpcb-like ] && { [ "$primary" -lt "$done_" ] || [ "$standby" -ge $((done_ / 2)) ]; }; then
    fail "$name" "writes are not on the primary: $told"
  else
    pass "$name: $told"
  fi
}

pgbench() {
  "$PGBIN/pgbench" -h "$host" -p "$PRIMARY_PORT" -U "$SUPERUSER" -i -q "$DATABASE" >"$work/init" 2>&1 || {
    fail pgbench "it cannot make its tables" "$work/init"
    return
  }
  start_proxy
  local script protocol clients
  for script in select-only tpcb-like; do
    for protocol in simple extended prepared; do
      for clients in 1 32; do
        bench_one "$script" "$protocol" "$clients"
      done
    done
  done
}

# --- Sessions that move all the time ----------------------------------------------------------

# Fresh tables, and transactions that are the same whenever they run: a client has a thread of its own, for a thread chooses
# the scripts of its clients in their order.
seeded() { # PORT PROTOCOL
  "$PGBIN/pgbench" -h "$host" -p "$PRIMARY_PORT" -U "$SUPERUSER" -i -q "$DATABASE" >"$work/init" 2>&1 &&
    PGPASSWORD=u_scram-secret limited "$PGBIN/pgbench" -h "$host" -p "$1" -U u_scram -n -b tpcb-like -b select-only \
      -M "$2" -c 4 -j 4 -t "$bench_n" --random-seed=11 "$DATABASE" >"$work/bench" 2>"$work/bench.err"
}

# What transactions have left in the tables, whatever their order.
left_behind() {
  sql "$PRIMARY_PORT" "select md5(string_agg(r, ',' order by r)) from (
      select 'a' || aid || ' ' || abalance as r from pgbench_accounts
      union all select 't' || tid || ' ' || tbalance from pgbench_tellers
      union all select 'b' || bid || ' ' || bbalance from pgbench_branches
      union all select 'h' || tid || ' ' || bid || ' ' || aid || ' ' || delta from pgbench_history) as rows"
}

# Moves all sessions between two names of the primary, 50 ms apart, until told to stop.
keep_moving() { # FROM TO
  local from=$1 to=$2 next
  until [ -e "$work/enough" ]; do
    printf "migrate all from '%s' to '%s';\n" "$from" "$to"
    next=$from from=$to to=$next
    sleep 0.05
  done | "$PGBIN/psql" -X -q -A -t -h "$host" -p "$port" -U operator -d pgturnout >"$work/moved" 2>"$work/moved.err"
}

moves() {
  local mode direct moved mover one=$host:$PRIMARY_PORT other=localhost:$PRIMARY_PORT
  if ! seeded "$PRIMARY_PORT" simple; then
    fail moves "pgbench failed directly" "$work/bench.err"
    return
  fi
  direct=$(left_behind)
  start_proxy --spare "$other" --console-user operator --console-auth trust --upstream-tls disable
  for mode in simple extended prepared; do
    rm -f "$work/enough"
    keep_moving "$one" "$other" &
    mover=$!
    seeded "$port" "$mode" || printf 'pgbench failed\n' >>"$work/bench.err"
    : >"$work/enough"
    wait "$mover" || true
    moved=$(grep -c '|moved|' "$work/moved" || true)
    # The sessions of the next mode begin where the first ones did.
    "$PGBIN/psql" -X -q -h "$host" -p "$port" -U operator -d pgturnout -c "migrate all from '$other' to '$one'" \
      >/dev/null 2>&1 || true
    if grep -qvE '^(pgbench \(|pgbench: setting random seed|$)' "$work/bench.err" || [ "$(told 'number of failed transactions')" != 0 ]; then
      fail "moves, $mode" "pgbench saw an error" "$work/bench.err"
    elif [ "$moved" -lt 8 ] || grep -qE '\|(stuck|lost)\|' "$work/moved" || grep -q '^ERROR' "$work/moved.err"; then
      cat "$work/moved" "$work/moved.err" >"$work/moves"
      fail "moves, $mode" "$moved moves, or some that failed" "$work/moves"
    elif [ "$(left_behind)" != "$direct" ]; then
      fail "moves, $mode" "the tables differ from a direct run's"
    else
      pass "moves, $mode: $(told 'number of transactions actually processed') transactions, $moved moves of their sessions"
    fi
  done
}

# --- A switchover under clients ---------------------------------------------------------------

switchover() {
  if PGTURNOUT_PROXY=$proxy PGTURNOUT_PG_BIN=$PGBIN limited bash "$repo/examples/migrate.sh" \
    --seconds 6 --clients 4 >"$work/switchover" 2>&1; then
    pass "switchover: $(sed -n 's/^  \([0-9]* clients\): .*/\1/p' "$work/switchover") and no error"
  else
    tail -n 40 "$work/switchover" >"$work/tail"
    fail switchover "a client saw it" "$work/tail"
  fi
}

# --- All --------------------------------------------------------------------------------------

if wanted psql; then
  compare psql psql_work
  make_big_file
  compare "psql-copy-${copy_mb}MB" psql_copy
fi
if wanted psycopg || wanted asyncpg || wanted tls; then
  if python_here; then
    wanted psycopg && compare psycopg psycopg_work
    wanted asyncpg && compare asyncpg asyncpg_work
    if wanted tls; then
      if [ -n "$CERT" ]; then tls; else skip tls "no openssl to make certificates"; fi
    fi
  else
    undriven $? "psycopg, asyncpg, tls" "no Python with venv and the drivers: $(tail -n 1 "$work/python.log")"
  fi
fi
if wanted node; then
  if node_here; then
    compare node-postgres node_work
  else
    undriven $? node-postgres "no node-postgres: $(head -n 1 "$work/node.log")"
  fi
fi
if wanted pgbench; then
  if [ -x "$PGBIN/pgbench" ]; then pgbench; else skip pgbench "this PostgreSQL comes without it"; fi
fi
if wanted moves; then
  if [ -x "$PGBIN/pgbench" ]; then moves; else skip moves "this PostgreSQL comes without pgbench"; fi
fi
if wanted switchover; then
  if [ -x "$PGBIN/pgbench" ]; then switchover; else skip switchover "this PostgreSQL comes without pgbench"; fi
fi
printf '%d passed, %d failed, %d skipped\n' "$passed" "$failed" "$skipped"
[ "$failed" = 0 ]
