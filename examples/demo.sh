#!/usr/bin/env bash
# The proxy in front of a real primary and its real standby, from nothing.
set -euo pipefail

usage() {
  cat <<'HELP'
usage: examples/demo.sh [-- PROXY_FLAG...]

Gets PostgreSQL if it is missing, builds the proxy, starts a primary, a streaming standby and
the proxy, and shows a short psql session: what was asked, what came back and where it ran. With
a terminal it then stays up until Ctrl-C, for you to connect; without one it ends. Whatever it
started and made is gone afterwards. Works as root and as an ordinary user.

Flags behind `--` are given to the proxy; `cargo run --example proxy -- --help` tells them.

PGTURNOUT_LISTEN  where the proxy listens, by default a free port of 127.0.0.1
HELP
}

case ${1:-} in
  -h | --help) usage && exit 0 ;;
  --) shift ;;
  '') ;;
  *) usage >&2 && exit 2 ;;
esac

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

clean_up() {
  # Ends the proxy as well: it is run as a companion of the servers.
  [ ! -e "$cluster" ] || bash tests/support/cluster.sh stop "$cluster" || true
  rm -rf "$scratch"
}

build() {
  command -v cargo >/dev/null || {
    echo "demo.sh: cargo is missing: install Rust, and see that cargo is in the PATH" >&2
    exit 1
  }
  say "Building the proxy"
  cargo build --release --example proxy </dev/null
  bin=$(bash tests/support/get-postgres.sh)
}

start_servers() {
  say "Starting a primary and its standby"
  bash tests/support/cluster.sh start "$cluster" --bin "$bin" --owner $$
  # shellcheck source=/dev/null
  . "$cluster/env"
  unset PGHOST
  printf '%s\n  primary on port %s\n  standby on port %s\n' "$("$PGBIN/postgres" --version)" \
    "$PRIMARY_PORT" "$STANDBY_PORT"
}

start_proxy() { # ARG...
  set -- --listen "${PGTURNOUT_LISTEN:-127.0.0.1:0}" --writer "127.0.0.1:$PRIMARY_PORT" \
    --reader "127.0.0.1:$STANDBY_PORT" --user u_md5:u_md5-secret --user u_scram:u_scram-secret \
    --log-routes "$@"
  say "Starting the proxy"
  printf 'proxy'
  printf ' %s' "$@"
  printf '\n'
  : >"$scratch/out"
  bash tests/support/cluster.sh run "$cluster" "$target/release/examples/proxy" "$@" \
    </dev/null >"$scratch/out" 2>"$scratch/routes" &
  local proxy=$! tries=0
  # The shell shall not report its end, which comes with the servers'.
  disown "$proxy"
  until address=$(sed -n 's/^listening on //p' "$scratch/out") && [ -n "$address" ]; do
    tries=$((tries + 1))
    if [ "$tries" -gt 200 ] || ! kill -0 "$proxy" 2>/dev/null; then
      cat "$scratch/routes" >&2
      echo "demo.sh: the proxy does not listen" >&2
      exit 1
    fi
    sleep 0.05
  done
}

# Each statement, its answer, and the lines that it added to the proxy's log. One session for all: psql
# is fed through a pipe and says when an answer is complete.
session() {
  say "A session through the proxy: what was asked, what came back, where it ran"
  mkfifo "$scratch/in"
  "$PGBIN/psql" -X -A -t "$connection" <"$scratch/in" >"$scratch/answers" 2>&1 &
  exec 9>"$scratch/in"
  local statement
  while read -r statement; do
    ask "$statement"
  done <<'SQL'
select pg_is_in_recovery() as on_the_standby
create table trains (name text, track int)
insert into trains values ('night train', 1), ('milk run', 2)
select name, track from trains order by name
update trains set track = 3 where name = 'milk run'
select count(*) from trains where track = 3
begin
select pg_is_in_recovery() as on_the_standby
commit
select pg_is_in_recovery() as on_the_standby
drop table trains
SQL
  exec 9>&-
  wait $! || true
}

ask() { # STATEMENT
  local answered routed tries=0
  answered=$(lines_of answers)
  routed=$(lines_of routes)
  printf '%s;\n\\echo -- done\n' "$1" >&9
  # The proxy may tell the route a moment after the answer.
  until tail -n +"$((answered + 1))" "$scratch/answers" | grep -qx -e '-- done' &&
    [ "$(lines_of routes)" -gt "$routed" ]; do
    tries=$((tries + 1))
    [ "$tries" -lt 400 ] || {
      echo "demo.sh: no answer to, or no route of: $1" >&2
      exit 1
    }
    sleep 0.05
  done
  printf '\n  %s\n' "$1"
  tail -n +"$((answered + 1))" "$scratch/answers" | grep -vx -e '-- done' | sed 's/^/    = /' || true
  tail -n +"$((routed + 1))" "$scratch/routes" | sed 's/^/    > /'
}

lines_of() { wc -l <"$scratch/$1" | tr -d ' '; }

stay() {
  say "Connect with"
  printf '  %s/psql "%s"\n' "$PGBIN" "$connection"
  printf '  also as user u_md5 or u_scram, with the password u_md5-secret or u_scram-secret\n'
  if ! [ -t 0 ] || ! [ -t 1 ]; then
    return 0
  fi
  say "Ctrl-C ends it. Routes from here on:"
  tail -n 0 -f "$scratch/routes"
}

build
start_servers
start_proxy "$@"
connection="host=127.0.0.1 port=${address##*:} user=u_trust dbname=$DATABASE"
session
stay
