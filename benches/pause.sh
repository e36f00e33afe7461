#!/usr/bin/env bash
# How long a client is held while its session moves, beside one that connects anew and sets up the same.
set -euo pipefail

usage() {
  cat <<'HELP'
usage: pause.sh [--rounds N] [--sessions N] [--proxy PROGRAM]

Starts a primary and a standby, and the proxy before them. Sessions with five settings and ten
prepared statements are moved to and fro between two names of the primary, by its console, one
after the other; each move tells how long its client was held. Between the rounds a client connects through the same
proxy, sets and prepares the same, and leaves (`pgbench -C`), and one that stays asks for nothing
but an answer. Prints medians and 99th percentiles in microseconds of wall time, and their ratios.

  held       from the last answer of the old server to the cutover: one question to the old server,
             and two to the new one
  reconnect  TCP, login (SCRAM-SHA-256), the same settings and statements, one round trip each
  answer     one round trip of an empty question through the proxy

  --rounds N    moves of every session (default 20)
  --sessions N  how many (default 8)
  --proxy P     measure this program instead of building it
HELP
}

die() {
  printf 'pause.sh: %s\n' "$*" >&2
  exit 1
}

repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
rounds=20 sessions=8 proxy=''
while [ $# -gt 0 ]; do
  case $1 in
    --rounds) rounds=$2 ;;
    --sessions) sessions=$2 ;;
    --proxy) proxy=$2 ;;
    --help) usage && exit 0 ;;
    *) usage >&2 && exit 2 ;;
  esac
  shift 2
done
[ -n "$proxy" ] || proxy=$(cargo build --manifest-path "$repo/Cargo.toml" --release --example proxy --message-format=json |
  sed -n 's/.*"executable":"\([^"]*\)".*/\1/p' | tail -n 1)

work=$(mktemp -d)
chmod 755 "$work"
pids=
finish() {
  # shellcheck disable=SC2086
  [ -z "$pids" ] || kill $pids 2>/dev/null || true
  "$repo/tests/support/cluster.sh" stop "$work/cluster" >/dev/null 2>&1 || true
  rm -rf "$work"
}
trap finish EXIT

"$repo/tests/support/cluster.sh" start "$work/cluster" --owner $$ --async >/dev/null
# shellcheck disable=SC1091
. "$work/cluster/env"
PATH=$PGBIN:$PATH
export PGHOST=127.0.0.1 PGPASSWORD=u_scram-secret PGCONNECT_TIMEOUT=20
one=127.0.0.1:$PRIMARY_PORT other=localhost:$PRIMARY_PORT

: >"$work/proxy.out"
"$proxy" --listen 127.0.0.1:0 --writer "$one" --spare "$other" --split off --upstream-tls disable \
  --user u_scram:u_scram-secret --console-user operator --console-auth trust >"$work/proxy.out" 2>"$work/proxy.err" &
pids=$!
port=
for _ in $(seq 100); do
  port=$(sed -n 's/^listening on .*:\([0-9]*\)$/\1/p' "$work/proxy.out")
  [ -z "$port" ] || break
  sleep 0.1
done
[ -n "$port" ] || die "the proxy did not start: $(cat "$work/proxy.err")"

{
  printf '%s;\n' "set timezone = 'Asia/Kathmandu'" "set search_path = app, public" "set work_mem = '77MB'" \
    "set statement_timeout = '13min'" "set application_name = 'pause'"
  for statement in 1 2 3 4 5 6 7 8 9 10; do
    printf 'prepare s%s(int) as select %s + $1;\n' "$statement" "$statement"
  done
} >"$work/setup.sql"
echo ';' >"$work/empty.sql"

# A session stays as long as its pipe is open.
for session in $(seq "$sessions"); do
  mkfifo "$work/pipe.$session"
  psql -X -q -p "$port" -U u_scram -d "$DATABASE" <"$work/pipe.$session" >"$work/session.$session" 2>&1 &
  pids="$pids $!"
  exec {pipe}>"$work/pipe.$session"
  { cat "$work/setup.sql" && echo "\\! touch $work/ready.$session"; } >&"$pipe"
done
for session in $(seq "$sessions"); do
  for _ in $(seq 100); do
    [ ! -e "$work/ready.$session" ] || continue 2
    sleep 0.1
  done
  die "session $session did not begin: $(cat "$work/session.$session")"
done

timed() { # NAME ARG...: the latency of each transaction
  local name=$1
  shift
  rm -f "$work/log".*
  pgbench -n -p "$port" -U u_scram -l --log-prefix="$work/log" "$@" "$DATABASE" >/dev/null 2>"$work/bench.err" ||
    die "pgbench: $(cat "$work/bench.err")"
  awk '{ print $3 }' "$work/log".* >>"$work/$name"
}

numbers=$(psql -X -q -A -t -p "$port" -U operator -d pgturnout -c 'show sessions' | sed -n 's/|u_scram|.*//p')
for round in $(seq "$rounds"); do
  for number in $numbers; do
    echo "migrate session $number to '$other';"
  done | psql -X -q -A -t -p "$port" -U operator -d pgturnout >"$work/moved" 2>&1
  [ "$(grep -c '|moved|' "$work/moved")" = "$sessions" ] || die "round $round: $(cat "$work/moved")"
  awk -F '|' '{ print $4 }' "$work/moved" >>"$work/held"
  next=$one one=$other other=$next
  timed answer -f "$work/empty.sql" -t 20
  # pgbench's own clock leaves the connection out: the whole run is timed, of one client after the other.
  began=$(date +%s%N)
  timed unused -C -f "$work/setup.sql" -t 20
  echo $((($(date +%s%N) - began) / 20000)) >>"$work/reconnect"
done

at() { # NAME PERCENT
  sort -n "$work/$1" | awk -v percent="$2" '{ v[NR] = $1 } END { i = int(NR * percent / 100 + 0.999); print v[i < 1 ? 1 : i] }'
}
printf '%-10s %8s %8s %8s\n' '' median 99th count
for name in held reconnect answer; do
  printf '%-10s %8s %8s %8s\n' "$name" "$(at "$name" 50)" "$(at "$name" 99)" "$(wc -l <"$work/$name" | tr -d ' ')"
done
awk -v held="$(at held 50)" -v again="$(at reconnect 50)" -v answer="$(at answer 50)" 'BEGIN {
  printf "held is %.2f of a reconnect, and %.1f answers long\n", held / again, held / answer }'
