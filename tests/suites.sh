#!/usr/bin/env bash
# Suites that nobody here wrote: PostgreSQL's own and those of drivers.
set -euo pipefail

usage() {
  cat <<'HELP'
usage: tests/suites.sh [NAME...]

Runs suites directly on a primary and then through the proxy, with the split off and on, and
reports what differs from the direct run. NAMEs select; by default all:
  regress         PostgreSQL's SQL regression tests (pg_regress): the results of every file
  isolation       PostgreSQL's tests of sessions side by side (pg_isolation_regress): every file
  pipeline        libpq_pipeline: protocol traces of pipelined work
  psycopg         the tests of psycopg 3, without those that it calls slow
  asyncpg         the tests of asyncpg, without those that start servers of their own
  node_postgres   the tests of node-postgres (pg, pg-pool, pg-cursor), by file
  tokio_postgres  the tests of tokio-postgres

For a person, not for every change: it takes half an hour. A difference is a failure, unless
tests/suites/known.txt has it with its reason, which only the split may have. A test of a driver
that differs is run again, twice at most, for some depend on timing.

PostgreSQL's suites need its source and its development files. Debian: installs
postgresql-server-dev-N and libpq-dev, and takes the source package of the installed version.
Elsewhere name the source of the installed version in PGTURNOUT_PG_SOURCE. The drivers' need
python3, node and npm, cargo; psycopg's and node-postgres's tests are cloned from GitHub, or taken
from folders `psycopg` and `node-postgres` in PGTURNOUT_DRIVERS_SOURCE. What cannot be had is
skipped.

Results stay in suites/ of the cache (PGTURNOUT_CACHE, by default pgturnout/ in Cargo's target
directory). Closes with `N passed, N failed, N skipped`.
HELP
}

case ${1:-} in -h | --help) usage && exit 0 ;; esac
repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$repo"
target=${CARGO_TARGET_DIR:-$repo/target}
export PGTURNOUT_CACHE=${PGTURNOUT_CACHE:-$target/pgturnout}
out=$PGTURNOUT_CACHE/suites
names=" ${*:-regress isolation pipeline psycopg asyncpg node_postgres tokio_postgres} "
host=127.0.0.1
passed=0 failed=0 skipped=0
# Not below the cache: the servers' user reads and writes here.
scratch=$(mktemp -d)
chmod 777 "$scratch"
cluster=$scratch/cluster
proxy_pid=
trap 'clean_up' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

clean_up() {
  stop_proxy
  [ ! -e "$cluster" ] || bash tests/support/cluster.sh stop "$cluster" || true
  rm -rf "$scratch"
}

die() {
  printf 'suites.sh: %s\n' "$*" >&2
  exit 1
}

wanted() { case $names in *" $1 "*) return 0 ;; *) return 1 ;; esac }

pass() {
  passed=$((passed + 1))
  printf 'ok      %s\n' "$1"
}

fail() { # NAME FILE
  failed=$((failed + 1))
  printf 'FAILED  %s\n' "$1"
  head -n 100 "$2" | sed 's/^/        /'
}

skip() { # NAME REASON
  skipped=$((skipped + 1))
  printf 'SKIPPED %s: %s\n' "$1" "$2"
}

# --- Source and development files -------------------------------------------------------------

find_source() {
  version=$("$bin/pg_config" --version | sed -E 's/^[^0-9]*([0-9.]+).*/\1/')
  major=${version%%.*}
  source=${PGTURNOUT_PG_SOURCE:-$PGTURNOUT_CACHE/postgresql-$version}
  if ! [ -d "$source/src/test/regress" ]; then
    fetch_source || die "PostgreSQL's source is missing: name it in PGTURNOUT_PG_SOURCE"
  fi
  regress_bin=$("$bin/pg_config" --pgxs)
  test_bin=$(dirname "$(dirname "$regress_bin")")/test
  regress_bin=$test_bin/regress/pg_regress
  if ! has_development_files && command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
    DEBIAN_FRONTEND=noninteractive apt-get install -y -q "postgresql-server-dev-$major" libpq-dev \
      </dev/null >"$scratch/apt.log" 2>&1 || cat "$scratch/apt.log" >&2
  fi
  has_development_files || die "pg_regress or postgres.h is missing: install PostgreSQL's development files"
}

# Some of them may be there without the others.
has_development_files() { [ -x "$regress_bin" ] && [ -e "$(server_headers)/postgres.h" ]; }

server_headers() { "$bin/pg_config" --includedir-server; }

# The system's own sources, asked for source packages in lists of our own, so that nothing of the
# system's configuration changes.
fetch_source() {
  command -v apt-get >/dev/null || return 1
  local lists=$scratch/apt file
  mkdir -p "$lists/parts" "$lists/lists/partial"
  for file in /etc/apt/sources.list /etc/apt/sources.list.d/debian*; do
    [ -f "$file" ] || continue
    sed -E 's/^Types: .*/Types: deb-src/; s/^deb /deb-src /' "$file" >"$lists/parts/$(basename "$file")"
  done
  mv "$lists/parts/sources.list" "$lists/parts/main.list" 2>/dev/null || true
  (
    cd "$lists"
    set -- -o Dir::Etc::sourcelist=/dev/null -o "Dir::Etc::sourceparts=$lists/parts" \
      -o "Dir::State::lists=$lists/lists" -o APT::Sandbox::User=root
    apt-get "$@" update -q
    apt-get "$@" source -q --download-only \
      "postgresql-$major=$(dpkg-query -W -f '${Version}' "postgresql-$major")"
  ) >"$scratch/source.log" 2>&1 || {
    tail -n 5 "$scratch/source.log" >&2
    return 1
  }
  mkdir -p "$PGTURNOUT_CACHE"
  tar -xf "$lists"/*.orig.tar.* -C "$PGTURNOUT_CACHE"
}

# --- Servers and proxy ------------------------------------------------------------------------

start() {
  [ -n "${PGTURNOUT_PROXY:-}" ] || cargo build --release --all-features --example proxy </dev/null
  bash tests/support/cluster.sh start "$cluster" --bin "$bin" --owner $$
  # shellcheck source=/dev/null
  . "$cluster/env"
  unset PGHOST
}

# Commits here wait until the standby has replayed them, and replay waits for queries there: a test that leaves a long
# one behind would stop the next. Node-postgres's give up after 5 s.
limit_queries_on_standby() {
  "$bin/psql" -X -q -h "$host" -p "$STANDBY_PORT" -U "$SUPERUSER" -d postgres >/dev/null \
    -c "alter system set max_standby_streaming_delay = '2s'" -c 'select pg_reload_conf()'
}

start_proxy() { # ARG...; sets `port`
  stop_proxy
  : >"$scratch/listening"
  bash tests/support/cluster.sh run "$cluster" "${PGTURNOUT_PROXY:-$target/release/examples/proxy}" \
    --listen "$host:0" --writer "$host:$PRIMARY_PORT" --reader "$host:$STANDBY_PORT" "$@" \
    </dev/null >"$scratch/listening" 2>"$scratch/proxy.log" &
  proxy_pid=$!
  local tries=0
  until port=$(sed -n 's/^listening on .*:\([0-9]*\)$/\1/p' "$scratch/listening") && [ -n "$port" ]; do
    tries=$((tries + 1))
    [ "$tries" -le 200 ] || die "the proxy does not listen: $(cat "$scratch/proxy.log")"
    sleep 0.05
  done
}

stop_proxy() {
  [ -n "$proxy_pid" ] || return 0
  kill "$proxy_pid" 2>/dev/null || true
  wait "$proxy_pid" 2>/dev/null || true
  proxy_pid=
}

# Runs a suite three ways; SUITE is a function that takes a port and a folder for its results.
three_ways() { # NAME SUITE
  local way
  rm -rf "${out:?}/$1"
  mkdir -p "$out/$1"
  "$2" "$PRIMARY_PORT" "$out/$1/direct"
  for way in off on; do
    start_proxy --split "$way"
    "$2" "$port" "$out/$1/split-$way"
    cp "$scratch/proxy.log" "$out/$1/split-$way.log"
    judge_files "$1" "$way"
  done
}

judge_files() { # NAME WAY
  local folder=$out/$1 file all
  : >"$folder/split-$2.differ"
  for file in "$folder/direct"/*; do
    diff "$file" "$folder/split-$2/" >>"$folder/split-$2.diff" 2>&1 ||
      basename "$file" >>"$folder/split-$2.differ"
  done
  all=$(find "$folder/direct" -type f | wc -l)
  judge "$1" "$2" $((all)) files
}

# Judges a way by the names of what differs, which are in a file of their own.
judge() { # NAME WAY ALL WHAT
  local name=$1 way=$2 differ=$out/$1/split-$2.differ title
  title="$name, split $way: $(($3 - $(wc -l <"$differ"))) of $3 $4 as directly"
  [ "$way" = off ] || sort_out_known "$name" "$differ"
  if [ "$3" = 0 ]; then
    echo 'it has no results' >"$differ"
    fail "$title" "$differ"
  elif [ -s "$differ" ]; then
    fail "$title" "$differ"
  else
    pass "$title"
  fi
}

# Takes what is known to differ with the split on out of a list of names, and says it with the reason.
sort_out_known() { # NAME DIFFER
  local suite test reason
  while IFS='|' read -r suite test reason; do
    if [ "$suite" != "$1" ] || ! grep -qxF -- "$test" "$2"; then
      continue
    fi
    skipped=$((skipped + 1))
    printf 'KNOWN   %s: %s:%s\n' "$suite" "$test" "$reason"
    grep -vxF -- "$test" "$2" >"$2.left" || true
    mv "$2.left" "$2"
  done <tests/suites/known.txt
}

# --- regress ----------------------------------------------------------------------------------

build_regress() {
  # Functions in C that the tests load.
  cc -shared -fPIC -O1 -w -I"$(server_headers)" \
    -o "$scratch/regress.so" "$source/src/test/regress/regress.c"
  cp -R "$source/src/test/regress" "$scratch/regress"
  chmod -R a+rX "$scratch/regress"
}

regress() { # PORT RESULTS
  local work
  work=$scratch/regress-out
  rm -rf "$work"
  # The server writes results, too.
  (umask 000 && mkdir -p "$work/results" "$work/testtablespace")
  (
    umask 000
    cd "$scratch/regress"
    "$regress_bin" --bindir="$bin" --dlpath="$scratch" --inputdir=. --outputdir="$work" \
      --host="$host" --port="$1" --user="$SUPERUSER" --schedule=parallel_schedule \
      --max-concurrent-tests=20
  ) </dev/null >"$work/log" 2>&1 || true
  tail -n 6 "$work/log"
  mkdir -p "$2"
  cp "$work"/results/*.out "$2/"
}

# --- isolation --------------------------------------------------------------------------------

build_isolation() {
  cp -R "$source/src/test/isolation" "$scratch/isolation"
  # It wants its tester beside it, and another version's would not do.
  cp "$test_bin/isolation/pg_isolation_regress" "$test_bin/isolation/isolationtester" "$scratch/isolation/"
  chmod -R a+rX "$scratch/isolation"
}

# A session waits for another where the one that holds the lock is: it asks by the process ids of BackendKeyData.
isolation() { # PORT RESULTS
  local work=$scratch/isolation-out
  rm -rf "$work"
  mkdir -p "$work"
  (
    cd "$scratch/isolation"
    # One of the tests shows how libpq says that a server is gone, which it says in other words over TLS.
    PGSSLMODE=disable ./pg_isolation_regress --bindir="$bin" --inputdir=. --outputdir="$work" \
      --host="$host" --port="$1" --user="$SUPERUSER" --schedule=isolation_schedule
  ) </dev/null >"$work/log" 2>&1 || true
  tail -n 6 "$work/log"
  mkdir -p "$2"
  cp "$work"/results/*.out "$2/"
}

# --- pipeline ---------------------------------------------------------------------------------

build_pipeline() {
  local include
  include=$("$bin/pg_config" --includedir)
  cc -O1 -w -I"$include" -I"$(server_headers)" -I"$source/src/include" \
    -o "$scratch/libpq_pipeline" "$source/src/test/modules/libpq_pipeline/libpq_pipeline.c" \
    -L"$("$bin/pg_config" --libdir)" -L"$(dirname "$bin")/lib" -lpgcommon -lpgport -lpq
}

pipeline() { # PORT RESULTS
  local test
  mkdir -p "$2"
  # What the last run left would be told in notices.
  "$bin/psql" -X -q -h "$host" -p "$PRIMARY_PORT" -U "$SUPERUSER" -d "$DATABASE" \
    -c 'set client_min_messages = warning; drop schema public cascade; create schema public'
  for test in $("$scratch/libpq_pipeline" tests); do
    # Traces without times, as libpq writes them for its own comparisons.
    # It sets lc_messages, which takes a superuser.
    PGUSER=$SUPERUSER "$scratch/libpq_pipeline" -r 700 -t "$2/$test.trace" "$test" \
      "host=$host port=$1 dbname=$DATABASE" >"$2/$test.out" 2>&1 ||
      printf 'exit code %d\n' $? >>"$2/$test.out"
    if [ "$test" = uniqviol ]; then
      # It sends until the server stops reading: how much that is differs from run to run.
      rm -f "$2/$test.trace"
      tail -n 1 "$2/$test.out" >"$2/$test.end"
      rm -f "$2/$test.out"
    elif [ -e "$2/$test.trace" ]; then
      # Each direction by itself: when libpq looks for replies between its messages is a matter of time.
      { grep ^F "$2/$test.trace" && grep ^B "$2/$test.trace"; } >"$2/$test.both" || true
      mv "$2/$test.both" "$2/$test.trace"
    fi
  done
}

# --- Drivers ----------------------------------------------------------------------------------

# shellcheck source=tests/suites/drivers.sh
. tests/suites/drivers.sh

# Runs a driver's suite three ways. SUITE is a function of drivers.sh.
driver_ways() { # SUITE
  local folder=$out/$1 way
  if ! "prepare_$1" >"$scratch/prepare.log" 2>&1; then
    skip "$1" "$(tail -n 3 "$scratch/prepare.log")"
    return
  fi
  rm -rf "${folder:?}"
  mkdir -p "$folder"
  "$1" "$PRIMARY_PORT" "$folder/direct"
  for way in off on; do
    start_proxy --split "$way" ${CERT:+--client-tls allow --tls-cert "$CERT" --tls-key "$KEY"} \
      --user pass_user:password --user md5_user:password --user scram_user:password
    "$1" "$port" "$folder/split-$way"
    differing "$folder/direct" "$folder/split-$way" >"$folder/split-$way.differ"
    try_again "$1" "$way"
    try_again "$1" "$way"
    cp "$scratch/proxy.log" "$folder/split-$way.proxy.log"
    judge "$1" "$way" "$(($(wc -l <"$folder/direct")))" tests
  done
}

# The names of tests whose outcome is not the same in two lists.
differing() { # LIST LIST
  awk -F '\t' '
    NR == FNR { first[$2] = $1; next }
    { if (first[$2] != $1) print $2; seen[$2] = 1 }
    END { for (name in first) if (!(name in seen)) print name }
  ' "$1" "$2" | sort -u
}

# Runs the tests that differ once more, both ways, and keeps those that still do.
try_again() { # SUITE WAY
  local names=$out/$1/split-$2.differ
  [ -s "$names" ] || return 0
  "$1" "$PRIMARY_PORT" "$scratch/again.direct" "$names"
  "$1" "$port" "$scratch/again.proxied" "$names"
  differing "$scratch/again.direct" "$scratch/again.proxied" >"$scratch/again"
  mv "$scratch/again" "$names"
}

bin=$(PGTURNOUT_PG_VERSION='' bash tests/support/get-postgres.sh)
if wanted regress || wanted isolation || wanted pipeline; then
  find_source
fi
start
if wanted regress; then
  build_regress
  three_ways regress regress
fi
if wanted isolation; then
  build_isolation
  three_ways isolation isolation
fi
if wanted pipeline; then
  build_pipeline
  three_ways pipeline pipeline
fi
limit_queries_on_standby
for name in psycopg asyncpg node_postgres tokio_postgres; do
  if wanted "$name"; then
    driver_ways "$name"
  fi
done
printf '%d passed, %d failed, %d skipped\n' "$passed" "$failed" "$skipped"
[ "$failed" = 0 ]
