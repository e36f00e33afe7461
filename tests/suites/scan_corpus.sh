#!/usr/bin/env bash
# What `scan` makes of PostgreSQL's own regression tests, against what a hot standby does with them.
set -euo pipefail

usage() {
  cat <<'HELP'
usage: tests/suites/scan_corpus.sh [FILE...]

Runs the statements of PostgreSQL's regression tests, in the order of their schedule, on a primary
and each first on its streaming standby, and counts: what the standby refuses and `scan` calls a
read, which must be nothing; and how much of what the standby answers alike is called a read or
tried by optimistic reads, of which 95 % are asked. FILEs are names without .sql; by default all run, some five minutes.

The tests come from PostgreSQL's source, of the version of the programs that get-postgres.sh finds
or PGTURNOUT_PG_BIN names: folder postgresql-VERSION of the cache (PGTURNOUT_CACHE), where
tests/suites.sh puts it, or PGTURNOUT_PG_SOURCE. Their C functions need cc and the server's headers,
or a source where `./configure` and `make -C src/backend generated-headers` have run; without them,
what uses them fails on both servers.

The report and lists of statements (wrong, bound, otherwise, missed) go to scan_corpus/ of the cache.
HELP
}

case ${1:-} in -h | --help) usage && exit 0 ;; esac
repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
cd "$repo"
export PGTURNOUT_CACHE=${PGTURNOUT_CACHE:-${CARGO_TARGET_DIR:-$repo/target}/pgturnout}
out=$PGTURNOUT_CACHE/scan_corpus
scratch=$(mktemp -d)
chmod 777 "$scratch"
cluster=$scratch/cluster
trap 'clean_up' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

clean_up() {
  [ ! -e "$cluster" ] || bash tests/support/cluster.sh stop "$cluster" || true
  rm -rf "$scratch"
}

die() {
  printf 'scan_corpus.sh: %s\n' "$*" >&2
  exit 1
}

bin=$(bash tests/support/get-postgres.sh)
version=$("$bin/postgres" --version | sed -E 's/^[^0-9]*([0-9.]+).*/\1/')
source=${PGTURNOUT_PG_SOURCE:-$PGTURNOUT_CACHE/postgresql-$version}
[ -d "$source/src/test/regress/sql" ] || die "no source of PostgreSQL $version in $source"

# The servers' user reads the tests and writes results.
cp -R "$source/src/test/regress" "$scratch/regress"
mkdir -p "$scratch/regress/results" "$scratch/regress/testtablespace"
headers=$("$bin/pg_config" --includedir-server 2>/dev/null || true)
cc -shared -fPIC -O1 -w -I"$headers" -I"$source/src/include" -o "$scratch/regress/regress.so" \
  "$source/src/test/regress/regress.c" 2>/dev/null || echo 'without the C functions of the tests'
chmod -R a+rwX "$scratch/regress"

bash tests/support/cluster.sh start "$cluster" --bin "$bin" --owner $$
# shellcheck source=/dev/null
. "$cluster/env"
unset PGHOST
sql() { "$bin/psql" -X -q -h 127.0.0.1 -p "$PRIMARY_PORT" -U "$SUPERUSER" -d postgres -v ON_ERROR_STOP=1 "$@"; }
sql -c "create database regression template template0 encoding 'UTF8' lc_collate 'C' lc_ctype 'C'"
for setting in lc_messages lc_monetary lc_numeric lc_time; do
  sql -c "alter database regression set $setting to 'C'"
done
sql -c "alter database regression set bytea_output to 'hex'" \
  -c "alter database regression set timezone_abbreviations to 'Default'"

# What the primary's open transaction locks stays locked on the standby, and a statement that waits there would stop
# the replay that it waits for.
"$bin/psql" -X -q -h 127.0.0.1 -p "$STANDBY_PORT" -U "$SUPERUSER" -d postgres >/dev/null \
  -c "alter system set lock_timeout = '300ms'" -c "alter system set max_standby_streaming_delay = '1s'" \
  -c 'select pg_reload_conf()'

mkdir -p "$out"
PGTURNOUT_CORPUS=$scratch/regress PGTURNOUT_CLUSTER=$cluster PGTURNOUT_CORPUS_DATABASE=regression \
  PGTURNOUT_CORPUS_OUT=$out PGTURNOUT_CORPUS_FILES="$*" \
  cargo test --release --test corpus -- --nocapture
printf 'PostgreSQL %s\n' "$version" | cat - "$out/report.txt" >"$out/summary.txt"
