#!/usr/bin/env bash
# What a transaction costs a proxy in CPU time, beside a program that only copies bytes.
set -euo pipefail

usage() {
  cat <<'HELP'
usage: cpu.sh [--rounds N] [--seconds N] [--proxy PROGRAM] [--copier PROGRAM]

Starts a primary and a standby, then the endpoints below on one core, and runs `pgbench -S`
against each in turn: simple, extended and prepared protocol, 1 and 32 clients. Prints the
median over the rounds of each endpoint's CPU time per transaction (user and system, then user
alone, from /proc/PID/stat), in microseconds and as a ratio to the copier's.

  copier       benches/copier.rs: tokio, two directions, no look at the bytes
  proxy        examples/proxy with a reader: every select goes to the standby
  proxy-off    the same with --split off
  pgbouncer-s  PgBouncer with session pooling, where it is installed
  pgbouncer-t  PgBouncer with transaction pooling

  --rounds N   rounds over all endpoints, interleaved (default 5)
  --seconds N  length of one run of pgbench (default 3)
  --proxy P, --copier P   measure these programs instead of building them
HELP
}

die() {
  printf 'cpu.sh: %s\n' "$*" >&2
  exit 1
}

repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
rounds=5 seconds=3 proxy='' copier=''
while [ $# -gt 0 ]; do
  case $1 in
    --rounds) rounds=$2 ;;
    --seconds) seconds=$2 ;;
    --proxy) proxy=$2 ;;
    --copier) copier=$2 ;;
    --help) usage && exit 0 ;;
    *) usage >&2 && exit 2 ;;
  esac
  shift 2
done
[ -r /proc/self/stat ] || die "needs /proc"

build() { # NAME-OF-KIND NAME: the path of a program of this package
  cargo build --manifest-path "$repo/Cargo.toml" --release --"$1" "$2" --message-format=json |
    sed -n 's/.*"executable":"\([^"]*\)".*/\1/p' | tail -n 1
}
[ -n "$proxy" ] || proxy=$(build example proxy)
[ -n "$copier" ] || copier=$(build bench copier)

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
primary=127.0.0.1:$PRIMARY_PORT standby=127.0.0.1:$STANDBY_PORT
bench=(pgbench -h 127.0.0.1 -U "$SUPERUSER" -n "$DATABASE")
PATH=$PGBIN:$PATH
pgbench -q -i -s 10 -h 127.0.0.1 -p "$PRIMARY_PORT" -U "$SUPERUSER" "$DATABASE" 2>/dev/null

# The endpoint on one core, the servers and pgbench on the others: the steadiest arrangement.
near='' far=''
if command -v taskset >/dev/null && [ "$(nproc)" -gt 1 ]; then
  near='taskset -c 0' far="taskset -c 1-$(($(nproc) - 1))"
  for pid in $(head -qn 1 "$DATA"/*/postmaster.pid); do
    taskset -apc "1-$(($(nproc) - 1))" "$pid" >/dev/null
  done
fi

names=() ports=() processes=()
endpoint() { # NAME COMMAND...: a program that prints `listening on HOST:PORT`
  local name=$1 port=
  shift
  : >"$work/$name.out"
  # shellcheck disable=SC2086
  $near "$@" >"$work/$name.out" 2>"$work/$name.err" &
  pids="$pids $!"
  names+=("$name") processes+=("$!")
  for _ in $(seq 100); do
    port=$(sed -n 's/^listening on .*:\([0-9]*\)$/\1/p' "$work/$name.out")
    [ -z "$port" ] || break
    sleep 0.1
  done
  [ -n "$port" ] || die "$name did not start: $(cat "$work/$name.err")"
  ports+=("$port")
}

pgbouncer_endpoint() { # NAME MODE
  local port user=''
  port=$(free_port)
  [ "$(id -u)" != 0 ] || user='user = nobody'
  cat >"$work/$1.ini" <<INI
[databases]
* = host=127.0.0.1 port=$PRIMARY_PORT
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = $port
unix_socket_dir =
auth_type = any
auth_file = $work/$1.users
pool_mode = $2
default_pool_size = 40
max_client_conn = 200
$user
INI
  printf '"%s" ""\n' "$SUPERUSER" >"$work/$1.users"
  sed -i "s/^\* = .*/& user=$SUPERUSER/" "$work/$1.ini"
  endpoint "$1" sh -c "echo listening on 127.0.0.1:$port; exec pgbouncer -q $work/$1.ini"
}

free_port() {
  local port
  while :; do
    port=$((20000 + RANDOM % 10000))
    (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || break
  done
  echo "$port"
}

endpoint copier "$copier" --listen 127.0.0.1:0 --to "$primary"
endpoint proxy "$proxy" --listen 127.0.0.1:0 --writer "$primary" --reader "$standby" --upstream-tls disable
endpoint proxy-off "$proxy" --listen 127.0.0.1:0 --writer "$primary" --split off --upstream-tls disable
if PATH=$PATH:/usr/sbin command -v pgbouncer >/dev/null; then
  PATH=$PATH:/usr/sbin
  pgbouncer_endpoint pgbouncer-s session
  pgbouncer_endpoint pgbouncer-t transaction
fi
sleep 1

ticks() { # PID: user time and system time so far, in clock ticks
  awk '{ sub(/.*\) /, ""); print $12, $13 }' "/proc/$1/stat" 2>/dev/null || echo gone
}
per_second=$(getconf CLK_TCK)

one_run() { # ENDPOINT MODE CLIENTS: appends "ENDPOINT MODE CLIENTS MICROSECONDS USER-MICROSECONDS"
  local before after count
  before=$(ticks "${processes[$1]}")
  # shellcheck disable=SC2086
  count=$($far "${bench[@]}" -S -M "$2" -c "$3" -j 1 -T "$seconds" -p "${ports[$1]}" 2>"$work/bench.err" |
    sed -n 's/^number of transactions actually processed: \([0-9]*\).*/\1/p') || true
  after=$(ticks "${processes[$1]}")
  [ "$after" != gone ] && [ "${count:-0}" -gt 0 ] ||
    die "${names[$1]}: $2, $3 clients: $(cat "$work/bench.err" "$work/${names[$1]}.err")"
  echo "${names[$1]} $2 $3 $before $after $count" |
    awk -v unit="$((1000000 / per_second))" \
      '{ printf "%s %s %s %.3f %.3f\n", $1, $2, $3, ($6 + $7 - $4 - $5) * unit / $8, ($6 - $4) * unit / $8 }' >>"$work/results"
}

for round in $(seq "$rounds"); do
  printf 'round %s of %s\n' "$round" "$rounds" >&2
  for mode in simple extended prepared; do
    for clients in 1 32; do
      for index in "${!names[@]}"; do
        case ${names[$index]}-$mode in
          # Before 1.21 PgBouncer knows nothing of prepared statements across servers.
          pgbouncer-t-prepared) continue ;;
        esac
        one_run "$index" "$mode" "$clients"
      done
    done
  done
done

table() { # COLUMN TITLE
  echo "$2, in microseconds, median of $rounds; in brackets, the ratio to the copier"
  sort -k1,1 -k2,2 -k3,3n -k"$1,$1n" "$work/results" | awk -v order="${names[*]}" -v field="$1" '
    { key = $1 " " $2 " " $3; values[key] = values[key] " " $field }
    function median(list,   n, v) {
      n = split(list, v, " ")
      return n % 2 ? v[(n + 1) / 2] : (v[n / 2] + v[n / 2 + 1]) / 2
    }
    END {
      columns = split("simple 1,simple 32,extended 1,extended 32,prepared 1,prepared 32", column, ",")
      printf "%-12s", ""
      for (c = 1; c <= columns; c++) printf "%16s", column[c]
      print ""
      rows = split(order, row, " ")
      for (r = 1; r <= rows; r++) {
        printf "%-12s", row[r]
        for (c = 1; c <= columns; c++) {
          here = values[row[r] " " column[c]]
          base = values["copier " column[c]]
          if (here == "") printf "%16s", "-"
          else printf "%9.2f (%.2f)", median(here), median(here) / median(base)
        }
        print ""
      }
    }'
}
table 4 "CPU per transaction"
echo
table 5 "User time alone"
