#!/usr/bin/env bash
# Every test of the project's own, and the totals.
set -euo pipefail

usage() {
  cat <<'HELP'
usage: tests/run.sh [PART...]

Gets what the tests need (PostgreSQL, and drivers of Python, Node.js and Java where these
languages are installed), runs them and closes with `N passed, N failed, N skipped`. Works as root and as
an ordinary user. What is skipped is said, with the reason, where it happens and at the end.
The suites of others, of PostgreSQL and its drivers, are run by tests/suites.sh.

PARTs, by default all:
  crate    unit, documentation and other tests of cargo's, with all features and with none
  simulation  sessions from seeds, optimized, with every law checked on each
  live     raw protocol and tokio-postgres against a primary and a standby, directly and
           through the proxy, on each PostgreSQL; the openings of all drivers that can be had
  clients  psql, pgbench, psycopg 3, asyncpg and node-postgres, on each PostgreSQL

Each PostgreSQL is the one installed, or got by tests/support/get-postgres.sh, and version 18.

  CI=true                  missing PostgreSQL, of either version, is a failure, and so are
                           missing drivers of a language that is installed
  PGTURNOUT_PG_BIN         folder of PostgreSQL's programs; then no other version is tried
  PGTURNOUT_CACHE          where fetched things are kept; by default pgturnout/ in Cargo's
                           target directory
  PGTURNOUT_COPY_MB        size of the file that psql copies both ways (5)
  PGTURNOUT_BENCH_N        transactions per pgbench run (640)
  PGTURNOUT_SEEDS          sessions of the simulation, each under three chunkings (20000)
  PGTURNOUT_SEED           the first of its seeds; alone, the only one
HELP
}

case ${1:-} in -h | --help) usage && exit 0 ;; esac
repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$repo"
target=${CARGO_TARGET_DIR:-$repo/target}
export PGTURNOUT_CACHE=${PGTURNOUT_CACHE:-$target/pgturnout}
parts=" ${*:-crate simulation live clients} "
passed=0 failed=0 skipped=0
notes=
scratch=$(mktemp -d)
# Root's servers run as another user, who must get through.
chmod 711 "$scratch"
cluster=
trap 'stop_cluster; rm -rf "$scratch"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

heading() { printf '\n=== %s\n' "$*"; }

note() { notes="$notes
  $*"; }

wanted() { # PART
  case $parts in *" $1 "*) return 0 ;; *) return 1 ;; esac
}

limited() { # SECONDS COMMAND ARG...
  if command -v timeout >/dev/null; then
    timeout "$@"
  else
    shift
    "$@"
  fi
}

stop_cluster() {
  [ -n "$cluster" ] || return 0
  bash tests/support/cluster.sh stop "$cluster" || true
  cluster=
}

# Sums numbers that stand before a word, over lines.
sum_of() { # WORD
  sed -nE "s/.*[^0-9]([0-9]+) $1.*/\1/p" | awk '{ n += $1 } END { print n + 0 }'
}

# Runs one suite and adds up what it reports: cargo's `test result:` lines or a closing line of ours.
# A suite that fails without counting a failure, as one that does not compile, counts as one.
suite() { # NAME SECONDS COMMAND ARG...
  local name=$1 log=$scratch/log code=0 before
  heading "$name"
  shift
  limited "$@" </dev/null 2>&1 | tee "$log" || code=$?
  before=$failed
  count "$log"
  if [ "$code" != 0 ]; then
    note "FAILED  $name (exit code $code)"
    note_reasons "$log"
    [ "$failed" != "$before" ] || failed=$((failed + 1))
  fi
}

# Says again which tests failed and where, for whoever reads the end of a long log only.
note_reasons() { # LOG
  local line
  while IFS= read -r line; do
    note "        ${line:0:400}"
  done < <(awk '/^thread .* panicked at / { n = 5 } /^stack backtrace/ { n = 0 } n { print; n-- } /^error(\[|:)/ { print }' "$1" | head -60)
}

count() { # LOG
  local results silent
  results=$(sed -nE '/^test result: /p; /^[0-9]+ passed, [0-9]+ failed/s/^/ /p' "$1")
  # A live test without its server says so and returns: for cargo it has passed.
  silent=$(grep -cE 'SKIPPED [a-z]+::' "$1" || true)
  passed=$((passed + $(sum_of passed <<<"$results") - silent))
  failed=$((failed + $(sum_of failed <<<"$results")))
  skipped=$((skipped + silent + $(sum_of ignored <<<"$results") + $(sum_of skipped <<<"$results")))
  while read -r line; do
    note "$line"
  done < <(grep -E '^(SKIPPED|FAILED) ' "$1" || true)
}

leave_out() { # WHAT REASON
  heading "$1"
  printf 'SKIPPED %s: %s\n' "$1" "$2"
  note "SKIPPED $1: $2"
  skipped=$((skipped + 1))
}

need_cargo() {
  command -v cargo >/dev/null && cargo --version && return 0
  cat >&2 <<'MESSAGE'
tests/run.sh: cargo is missing. Install Rust (the version in Cargo.toml's rust-version, or
later) with rustup or your system's package manager, and see that cargo is in the PATH.
MESSAGE
  exit 1
}

# A live test has thousands of clients. Where fewer files may be open than it needs, it says so and is skipped.
raise_open_files() {
  local want=8192
  [ "$(ulimit -S -n)" = unlimited ] || [ "$(ulimit -S -n)" -ge "$want" ] ||
    ulimit -S -n "$want" 2>/dev/null || ulimit -S -n "$(ulimit -H -n)" || true
}

# --- The parts --------------------------------------------------------------------------------

crate() {
  local targets
  # shellcheck disable=SC2207
  targets=($(ordinary_tests))
  suite "cargo test, all features" 1200 env -u PGTURNOUT_SEEDS -u PGTURNOUT_SEED \
    cargo test --all-features --no-fail-fast --lib --bins --examples \
    "${targets[@]}"
  suite "cargo test, documentation" 600 cargo test --all-features --doc
  suite "cargo test, no features" 600 cargo test --no-default-features --lib
  local feature
  for feature in scram inspect; do
    suite "cargo check, $feature alone" 300 cargo check --no-default-features --features "$feature"
  done
}

simulation() {
  local seeds=${PGTURNOUT_SEEDS:-}
  [ -n "${PGTURNOUT_SEED:-}" ] || seeds=${seeds:-20000}
  # The usual number has what two cores do in five minutes, however much else they do meanwhile; whoever asks for more has as
  # long as it takes.
  local limit=1800 budget=600
  [ "$seeds" = 20000 ] || limit=86400 budget=unlimited
  suite "simulation, build" 900 cargo test --release --all-features --test simulation --no-run
  # shellcheck disable=SC2016
  suite "simulation" "$limit" env ${seeds:+PGTURNOUT_SEEDS="$seeds"} \
    bash -c 'ulimit -S -t "$0" && exec "$@"' "$budget" \
    cargo test --release --all-features --test simulation -- --nocapture
  note "simulation: $(grep -E '^[0-9]+ sessions in ' "$scratch/log" || echo "not done within $budget s of processor time")"
  # Where the parser of the feature inspect is not built in, every session tells the tables of its statements: the parser
  # takes more stack than a simulated session has.
  suite "simulation, with metadata" 600 env PGTURNOUT_SEED=0 PGTURNOUT_SEEDS=4000 cargo test --release \
    --no-default-features --features scram --test simulation -- --nocapture every_law
}

# Every test target but the live one, which has a part of its own.
ordinary_tests() {
  local file name
  for file in tests/*.rs tests/*/main.rs; do
    case $file in
      */main.rs) name=$(basename "$(dirname "$file")") ;;
      *) name=$(basename "$file" .rs) ;;
    esac
    case $name in live | '*') ;; *) printf -- '--test %s\n' "$name" ;; esac
  done
}

build_proxy() {
  [ -z "${PGTURNOUT_PROXY:-}" ] || return 0
  export PGTURNOUT_PROXY=$target/release/examples/proxy
  suite "the proxy" 900 cargo build --release --all-features --example proxy
  [ -x "$PGTURNOUT_PROXY" ]
}

major_of() { "$1/postgres" --version | sed -E 's/^[^0-9]*([0-9]+).*/\1/'; }

# The folders of the PostgreSQLs to test on.
find_servers() {
  servers=
  heading "PostgreSQL"
  if ! servers=$(bash tests/support/get-postgres.sh); then
    if [ "${CI:-}" = true ]; then
      failed=$((failed + 1))
      note "FAILED  no PostgreSQL"
    else
      leave_out "live and clients" "no PostgreSQL"
    fi
    return 0
  fi
  "$servers/postgres" --version
  [ -z "${PGTURNOUT_PG_BIN:-}" ] && [ "$(major_of "$servers")" != 18 ] || return 0
  local more
  if more=$(bash tests/support/get-postgres.sh 18); then
    "$more/postgres" --version
    servers="$servers
$more"
  elif [ "${CI:-}" = true ]; then
    failed=$((failed + 1))
    note "FAILED  no PostgreSQL 18"
  else
    leave_out "PostgreSQL 18" "it cannot be had here"
  fi
}

on_server() { # BINDIR
  local version other
  version=PostgreSQL\ $(major_of "$1")
  cluster=$scratch/cluster
  bash tests/support/cluster.sh start "$cluster" --bin "$1" --owner $$ || {
    cluster=
    failed=$((failed + 1))
    note "FAILED  $version: no cluster"
    return 0
  }
  if wanted live; then
    # Sessions move between versions, too.
    other=$(grep -vxF "$1" <<<"$servers" || true)
    PGTURNOUT_CLUSTER=$cluster PGTURNOUT_PG_BIN=$1 \
      suite "live, $version" 900 env -u PGTURNOUT_SEEDS -u PGTURNOUT_SEED \
      ${other:+PGTURNOUT_OTHER_PG_BIN="$other"} cargo test --all-features --test live
  fi
  if wanted clients; then
    suite "clients, $version" 900 bash tests/clients/run.sh "$cluster" "$PGTURNOUT_PROXY"
  fi
  stop_cluster
}

need_cargo
raise_open_files
if wanted crate; then
  crate
fi
if wanted simulation; then
  simulation
fi
if wanted live || wanted clients; then
  find_servers
  if [ -n "$servers" ] && build_proxy; then
    while read -r bin; do
      on_server "$bin" </dev/null
    done <<<"$servers"
  fi
fi
heading "Totals${notes:+, and what did not run or failed:$notes}"
printf '%d passed, %d failed, %d skipped\n' "$passed" "$failed" "$skipped"
[ "$failed" = 0 ]
