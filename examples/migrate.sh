#!/usr/bin/env bash
# A primary is switched over to its standby under clients that work on it, and stay connected.
set -euo pipefail

usage() {
  cat <<'HELP'
usage: examples/migrate.sh [--seconds N] [--clients N]

Gets PostgreSQL if it is missing, builds the proxy, starts a primary, a streaming standby and
the proxy, and has pgbench (each protocol mode, and one run that connects for each transaction)
and psql write through the proxy. Meanwhile, at the proxy's console:

  PAUSE the primary        logins wait, sessions are held between two transactions
  ... the standby replays the last write, and is promoted
  MIGRATE ALL              every session moves, new ones go to the new primary
  ... the old primary is stopped

It fails if a client saw an error, if a write was lost or made twice, or if psql's session
lost its settings. It prints how much longer than usual the longest
transaction of each client took. What it started and made is gone afterwards. Works as root and
as an ordinary user.

  --seconds N   how long the clients work, 15 by default
  --clients N   of pgbench, for each protocol mode, 10 by default

PGTURNOUT_PROXY  the proxy to use; by default the example, built now
HELP
}

seconds=15 clients=10
while [ "$#" -gt 0 ]; do
  case $1 in
    -h | --help) usage && exit 0 ;;
    --seconds | --clients)
      [ "$#" -ge 2 ] || { usage >&2 && exit 2; }
      case $1 in --seconds) seconds=$2 ;; --clients) clients=$2 ;; esac
      shift 2
      ;;
    *) usage >&2 && exit 2 ;;
  esac
done

repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$repo"
target=${CARGO_TARGET_DIR:-$repo/target}
scratch=$(mktemp -d)
# Root's servers run as another user, who must get through.
chmod 711 "$scratch"
cluster=$scratch/cluster
trap 'clean_up' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }
[ -t 1 ] || say() { printf '\n%s\n' "$*"; }

die() {
  printf 'migrate.sh: %s\n' "$*" >&2
  tail -n 20 "$scratch/proxy.log" >&2 2>/dev/null || true
  exit 1
}

clean_up() {
  touch "$scratch/done"
  # Ends the proxy as well: it is run as a companion of the servers.
  [ ! -e "$cluster" ] || bash tests/support/cluster.sh stop "$cluster" || true
  wait || true
  rm -rf "$scratch"
}

build() {
  proxy=${PGTURNOUT_PROXY:-}
  if [ -z "$proxy" ]; then
    command -v cargo >/dev/null || die "cargo is missing: install Rust, and see that cargo is in the PATH"
    say "Building the proxy"
    cargo build --release --example proxy </dev/null
    proxy=$target/release/examples/proxy
  fi
  bin=$(bash tests/support/get-postgres.sh)
  [ -x "$bin/pgbench" ] || die "this PostgreSQL comes without pgbench: $bin"
}

start_servers() {
  say "Starting a primary and its standby"
  # Commits do not wait for the standby: that it has everything is for the switchover to see.
  bash tests/support/cluster.sh start "$cluster" --bin "$bin" --owner $$ --async
  # shellcheck source=/dev/null
  . "$cluster/env"
  unset PGHOST
  old=127.0.0.1:$PRIMARY_PORT new=127.0.0.1:$STANDBY_PORT
  printf '%s\n  primary at %s\n  standby at %s\n' "$("$PGBIN/postgres" --version)" "$old" "$new"
}

start_proxy() {
  : >"$scratch/out"
  bash tests/support/cluster.sh run "$cluster" "$proxy" --listen 127.0.0.1:0 --writer "$old" \
    --reader "$new" --user operator:operator-secret --console-user operator \
    </dev/null >"$scratch/out" 2>"$scratch/proxy.log" &
  local pid=$! tries=0
  disown "$pid"
  until address=$(sed -n 's/^listening on //p' "$scratch/out") && [ -n "$address" ]; do
    tries=$((tries + 1))
    [ "$tries" -lt 200 ] && kill -0 "$pid" 2>/dev/null || die "the proxy does not listen"
    sleep 0.05
  done
  port=${address##*:}
}

sql() { # PORT SQL: past the proxy
  "$PGBIN/psql" -X -q -A -t -v ON_ERROR_STOP=1 -h 127.0.0.1 -p "$1" -U "$SUPERUSER" -d "$DATABASE" -c "$2"
}

console() { # STATEMENT
  printf '  %s\n' "$1"
  PGPASSWORD=operator-secret "$PGBIN/psql" -X -q -v ON_ERROR_STOP=1 -h 127.0.0.1 -p "$port" \
    -U operator -d pgturnout -c "$1" >"$scratch/said" 2>&1 || {
    cat "$scratch/said" >&2
    die "the console refuses: $1"
  }
}

# --- The clients ------------------------------------------------------------------------------

# Waits until the standby has replayed all that the primary has written.
catch_up() {
  local last tries=0
  last=$(sql "$PRIMARY_PORT" 'select pg_current_wal_flush_lsn()')
  until [ "$(sql "$STANDBY_PORT" "select pg_last_wal_replay_lsn() >= '$last'")" = t ]; do
    tries=$((tries + 1))
    [ "$tries" -lt 600 ] || die "the standby does not catch up"
    sleep 0.05
  done
}

make_tables() {
  sql "$PRIMARY_PORT" 'create table ledger (clients int, at timestamptz default clock_timestamp());
    create table counters (id int primary key, n bigint not null default 0);
    insert into counters select generate_series(1, 1000);
    create table notes (n int);
    grant all on all tables in schema public to public' >/dev/null
  catch_up
  cat >"$scratch/work.sql" <<'SQL'
\set id random(1, 1000)
begin;
update counters set n = n + 1 where id = :id;
insert into ledger (clients) values (:run);
end;
select n from counters where id = :id;
\sleep 5 ms
SQL
}

runs='simple extended prepared connecting'

number_of() { # RUN
  case $1 in simple) echo 1 ;; extended) echo 2 ;; prepared) echo 3 ;; connecting) echo 4 ;; esac
}

bench() { # RUN
  local mode=$1 count=$clients threads=1
  set --
  [ "$mode" != connecting ] || {
    # A thread that waits for a login does nothing for its other clients: one of them in a transaction would keep the
    # proxy from its rest, for which the login waits.
    mode=simple count=2 threads=2
    set -- -C
  }
  "$PGBIN/pgbench" -n -f "$scratch/work.sql" -D "run=$(number_of "$run")" -M "$mode" -c "$count" -j "$threads" -T "$seconds" \
    --log --log-prefix="$scratch/log.$run" "$@" -h 127.0.0.1 -p "$port" -U u_trust "$DATABASE" \
    >"$scratch/bench.$run" 2>"$scratch/bench.$run.err" || echo "exit code $?" >>"$scratch/bench.$run.err"
}

# A session with settings, which have to be there afterwards.
note_things() {
  {
    echo "set work_mem = '7MB';"
    echo "set application_name = 'notes';"
    local n=0
    until [ -e "$scratch/done" ]; do
      n=$((n + 1))
      echo "insert into notes values ($n);"
      sleep 0.1
    done
    echo "show work_mem;"
    echo "show application_name;"
    echo "select count(*) = $n and max(n) = $n from notes;"
    echo "select inet_server_port();"
  } | "$PGBIN/psql" -X -q -A -t -v ON_ERROR_STOP=1 -h 127.0.0.1 -p "$port" -U u_trust -d "$DATABASE" \
    >"$scratch/psql" 2>&1 || echo "exit code $?" >>"$scratch/psql"
}

start_clients() {
  say "Clients write through the proxy, for $seconds seconds"
  for run in $runs; do
    bench "$run" &
    benches="${benches:-} $!"
  done
  note_things &
  noting=$!
  sleep $((seconds / 3))
}

# --- The switchover ---------------------------------------------------------------------------

switch_over() {
  say "The switchover"
  console "PAUSE '$old' WITHIN 30"
  catch_up
  printf '  ... the standby has replayed all of it, and is promoted\n'
  [ "$(sql "$STANDBY_PORT" 'select pg_promote(true, 60)')" = t ] || die "the standby is not promoted"
  console "MIGRATE ALL FROM '$old' TO '$new' WITHIN 60"
  printf '  ... the old primary is stopped\n'
  bash tests/support/cluster.sh primary "$cluster" stop
  printf '\n'
  console "SHOW UPSTREAMS"
  sed 's/^/    /' "$scratch/said"
}

# --- What came of it --------------------------------------------------------------------------

check() {
  local pid run count written
  for pid in $benches; do
    wait "$pid"
  done
  touch "$scratch/done"
  wait "$noting"
  for run in $runs; do
    if grep -qvE '^(pgbench \(|$)' "$scratch/bench.$run.err"; then
      cat "$scratch/bench.$run.err" >&2
      die "pgbench, $run, saw errors"
    fi
    count=$(sed -n 's/^number of transactions actually processed: \([0-9]*\).*/\1/p' "$scratch/bench.$run")
    written=$(sql "$STANDBY_PORT" "select count(*) from ledger where clients = $(number_of "$run")")
    [ "$count" = "$written" ] || die "pgbench, $run, made $count transactions, of which $written are there"
    printf '  pgbench, %-10s %6s transactions, all there, no error\n' "$run:" "$count"
  done
  [ "$(tr '\n' ' ' <"$scratch/psql")" = "7MB notes t $STANDBY_PORT " ] || {
    cat "$scratch/psql" >&2
    die "psql lost something"
  }
  printf '  psql:                its settings are there, and all its rows\n'
}

# Of each client the longest transaction, less its usual one: milliseconds, over all clients.
tell_pauses() {
  say "How long the clients that stayed connected were kept, in milliseconds"
  local run
  for run in simple extended prepared; do
    cat "$scratch/log.$run".* | awk -v run="$run" '{ print run "/" $1, $3 }'
  done | sort -k1,1 -k2,2n | awk '
    function told() { if (n) printf "%.1f\n", (took[n] - took[int((n + 1) / 2)]) / 1000 }
    $1 != client { told(); client = $1; n = 0 }
    { took[++n] = $2 }
    END { told() }' | sort -n | awk '
    { pause[NR] = $1 }
    END {
      p99 = int(NR * 0.99); if (p99 < NR * 0.99) p99++
      printf "  %d clients: median %s, 99th percentile %s, maximum %s\n", NR, pause[int((NR + 1) / 2)], pause[p99], pause[NR]
    }'
  sed -nE 's/^session ([0-9]+) moved to .* its client was held for ([0-9]+) ms$/\2/p' "$scratch/proxy.log" | sort -n | awk '
    { held[NR] = $1 }
    END { printf "  of that the move itself: median %s, maximum %s\n", held[int((NR + 1) / 2)], held[NR] }'
}

build
start_servers
start_proxy
make_tables
start_clients
switch_over
say "What the clients saw"
check
tell_pauses
