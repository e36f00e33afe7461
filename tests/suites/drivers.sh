# shellcheck shell=bash disable=SC2154
# The test suites of drivers, for suites.sh, which sources this.
#
# Each suite is a function that takes a port, a file for its outcomes (a line per test: outcome, tab, name) and, to
# run a selection, a file of names. Drivers come from their registries, their tests from where these are published.

drivers=$PGTURNOUT_CACHE/drivers
# shellcheck source=tests/support/packages.sh
. tests/support/packages.sh

limited() { # SECONDS COMMAND ARG...
  if command -v timeout >/dev/null; then
    timeout "$@"
  else
    shift
    "$@"
  fi
}

drivers_env() { # PORT DATABASE
  export PGHOST=$host PGPORT=$1 PGUSER=$SUPERUSER PGDATABASE=$2
}

# A database as new for each run: what one run leaves would be news to the next.
fresh_database() { # NAME
  # A statement each: none of them may run inside a transaction.
  superuser postgres "drop database if exists $1 with (force)"
  superuser postgres "create database $1"
  superuser "$1" 'create extension hstore; create extension citext; create extension ltree'
}

superuser() { # DATABASE SQL
  "$bin/psql" -X -q -v ON_ERROR_STOP=1 -h "$host" -p "$PRIMARY_PORT" -U "$SUPERUSER" -d "$1" -c "$2" \
    >"$scratch/superuser.log" 2>&1 || die "$(cat "$scratch/superuser.log")"
}

# The folder of a project's sources: in PGTURNOUT_DRIVERS_SOURCE, or cloned at a tag. Sets `source_of`.
sources() { # FOLDER URL TAG
  source_of=${PGTURNOUT_DRIVERS_SOURCE:-}/$1
  [ ! -d "$source_of" ] || return 0
  source_of=$drivers/$1-${3##*@}
  [ ! -d "$source_of" ] || return 0
  mkdir -p "$drivers"
  limited 300 git -c advice.detachedHead=false clone -q --depth 1 --branch "$3" "$2" "$source_of" </dev/null || {
    rm -rf "$source_of"
    echo "the sources of $1 cannot be cloned from $2: put them into a folder named $1 and name its parent in" \
      "PGTURNOUT_DRIVERS_SOURCE"
    return 1
  }
}

pinned() { # PACKAGE: the version that tests/clients is written for
  sed -nE "s/^$1(\[.*\])?==//p" tests/clients/requirements.txt
}

# --- Python -----------------------------------------------------------------------------------

venv() { # NAME REQUIREMENT...; sets `python`
  local folder=$drivers/$1-venv
  python=$folder/bin/python
  [ ! -e "$folder/done" ] || [ "$(cat "$folder/done")" != "$*" ] || return 0
  rm -rf "$folder"
  mkdir -p "$drivers"
  # Debian's Python comes without the module.
  python3 -m venv "$folder" || { apt_install python3-venv && python3 -m venv --clear "$folder"; } || return 1
  "$python" -m pip install --quiet --disable-pip-version-check "${@:2}" </dev/null || return 1
  printf '%s' "$*" >"$folder/done"
}

run_pytest() { # OUTCOMES NAMES ARG...
  local outcomes=$1 names=$2
  shift 2
  : >"$outcomes"
  # More than a test takes, less than a person waits for many that hang.
  OUTCOMES=$outcomes PYTHONPATH=$repo/tests/suites limited 1800 "$python" -m pytest -p outcomes --cache-clear -q --timeout 30 \
    "$@" ${names:+"@$names"} </dev/null >"$outcomes.log" 2>&1 || true
}

prepare_psycopg() {
  local version
  sources psycopg https://github.com/psycopg/psycopg "$(pinned psycopg)" || return 1
  # Between releases the sources are of a version to come.
  version=$(sed -nE 's/^version = "([0-9.]+[0-9]).*/\1/p' "$source_of/psycopg/pyproject.toml" | head -n 1)
  venv psycopg "psycopg[binary,pool]==$version" anyio dnspython pproxy pytest pytest-timeout || return 1
  cp -R "$source_of" "$scratch/psycopg"
}

psycopg() { # PORT OUTCOMES [NAMES]
  fresh_database psycopg_suite
  (
    cd "$scratch/psycopg" || exit
    run_pytest "$2" "${3:-}" -m 'not slow' \
      --test-dsn "host=$host port=$1 user=$SUPERUSER dbname=psycopg_suite"
  )
}

prepare_asyncpg() {
  local version
  version=$(pinned asyncpg)
  venv asyncpg "asyncpg==$version" distro pytest pytest-timeout uvloop || return 1
  # Its source distribution has the tests; the package that is tested is the installed one.
  "$python" -m pip download --quiet --disable-pip-version-check --no-deps --no-binary asyncpg \
    -d "$scratch" "asyncpg==$version" </dev/null || return 1
  mkdir "$scratch/asyncpg"
  tar -xf "$scratch/asyncpg-$version.tar.gz" -C "$scratch/asyncpg" --strip-components 1 "asyncpg-$version/tests"
}

asyncpg() { # PORT OUTCOMES [NAMES]
  fresh_database asyncpg_suite
  (
    cd "$scratch/asyncpg" || exit
    drivers_env "$1" asyncpg_suite
    # Tests that start servers of their own do not concern us.
    run_pytest "$2" "${3:-}" --assert=plain --import-mode=importlib \
      --deselect tests/test_connect.py::TestConnectionAttributes
  )
}

# --- Node.js ----------------------------------------------------------------------------------

prepare_node_postgres() {
  local package packages=(pg pg-pool pg-cursor) wanted=()
  if ! command -v node >/dev/null || ! command -v npm >/dev/null; then
    echo "node and npm are missing"
    return 1
  fi
  sources node-postgres https://github.com/brianc/node-postgres \
    "$(sed -n 's/^node_pg=//p' tests/clients/run.sh)" || return 1
  for package in "${packages[@]}"; do
    wanted+=("$package@$(node -p 'require(process.argv[1]).version' "$source_of/packages/$package/package.json")")
  done
  # What the tests of the three need, in the versions that they name.
  while read -r package; do
    wanted+=("$package")
  done < <(
    for package in "${packages[@]}"; do
      # shellcheck disable=SC2016
      node -p '
        const needed = require(process.argv[1]).devDependencies
        "async bluebird co expect.js lodash mocha pg-copy-streams".split(" ")
          .filter((name) => needed[name]).map((name) => `${name}@${needed[name]}`).join("\n")
      ' "$source_of/packages/$package/package.json"
    done | sort -u | grep .
  )
  npm install --loglevel=error --no-audit --no-fund --no-save --prefix "$scratch/node" "${wanted[@]}" \
    </dev/null >"$scratch/npm.log" 2>&1 || {
    cat "$scratch/npm.log"
    return 1
  }
  for package in "${packages[@]}"; do
    cp -R "$source_of/packages/$package/test" "$scratch/node/node_modules/$package/test"
  done
}

node_postgres() { # PORT OUTCOMES [NAMES]: a file of tests is one test
  local modules=$scratch/node/node_modules file outcome
  fresh_database node_suite
  : >"$2"
  : >"$2.log"
  (
    drivers_env "$1" node_suite
    export NODE_NO_WARNINGS=1
    cd "$modules" || exit
    if [ -n "${3:-}" ]; then
      cat "$3"
    else
      find pg/test/integration -name '*-tests.js' | sort
      find pg-pool/test pg-cursor/test -name '*.js' ! -name setup.js | sort
    fi | while read -r file; do
      printf '\n=== %s\n' "$file" >>"$2.log"
      outcome=failed
      case $file in
        pg/*) (cd pg && limited 60 node "${file#pg/}") ;;
        *) (cd "${file%%/*}" && limited 120 ../.bin/mocha --no-config --exit "${file#*/}") ;;
      esac </dev/null >>"$2.log" 2>&1 && outcome=passed
      printf '%s\t%s\n' "$outcome" "$file" >>"$2"
    done
  )
}

# --- Rust -------------------------------------------------------------------------------------

prepare_tokio_postgres() {
  local version found
  version=$(sed -n '/^name = "tokio-postgres"$/{n;s/^version = "\(.*\)"$/\1/p;}' Cargo.lock)
  cargo fetch -q </dev/null
  found=$(find "${CARGO_HOME:-$HOME/.cargo}/registry/src" -maxdepth 2 -name "tokio-postgres-$version" | head -n 1)
  [ -d "$found/tests/test" ] || {
    echo "the crate tokio-postgres has no tests"
    return 1
  }
  cp -R "$found" "$scratch/tokio"
  chmod -R u+w "$scratch/tokio"
  # The port is written into it.
  perl -0pi -e 's/"([^"]*5433[^"]*)"/&crate::here("$1")/g' \
    "$scratch/tokio/tests/test/main.rs" "$scratch/tokio/tests/test/runtime.rs"
  printf '\n%s\n' 'fn here(of: &str) -> String { of.replace("5433", &std::env::var("PGPORT").unwrap()) }' \
    >>"$scratch/tokio/tests/test/main.rs"
  (
    cd "$scratch/tokio" || exit
    # shellcheck disable=SC2046
    CARGO_TARGET_DIR=$drivers/target cargo test -q --no-run --test test \
      --features "$(sed -nE 's/^(with-[^ ]+) = .*/\1/p' Cargo.toml | tr '\n' ' ')" </dev/null
  ) >"$scratch/tokio.log" 2>&1 || {
    tail -n 20 "$scratch/tokio.log"
    return 1
  }
  tokio_users
}

# The users that it logs in as, and their ways to.
tokio_users() {
  local server
  superuser postgres "create role pass_user login password 'password'; create role scram_user login password 'password';
    set password_encryption = 'md5'; create role md5_user login password 'password'"
  for server in primary standby; do
    printf 'host all %s 127.0.0.1/32 %s\n' pass_user password md5_user md5 scram_user scram-sha-256 \
      >>"$DATA/$server/pg_hba.conf"
  done
  superuser postgres 'select pg_reload_conf()'
  "$bin/psql" -X -q -h "$host" -p "$STANDBY_PORT" -U "$SUPERUSER" -d postgres -c 'select pg_reload_conf()' >/dev/null
}

tokio_postgres() { # PORT OUTCOMES [NAMES]
  local binary
  # It works in the database `postgres`.
  superuser postgres 'drop schema public cascade; create schema public;
    create extension if not exists hstore; create extension if not exists citext; create extension if not exists ltree'
  binary=$(find "$drivers/target/debug/deps" -name 'test-*' -type f -perm -u+x -newer "$scratch/tokio/Cargo.toml" |
    head -n 1)
  : >"$2.log"
  (
    cd "$scratch/tokio" || exit
    if [ -n "${3:-}" ]; then
      while read -r name; do
        PGPORT=$1 limited 60 "$binary" --exact "$name" </dev/null || true
      done <"$3"
    else
      PGPORT=$1 limited 600 "$binary" </dev/null || true
    fi
  ) >"$2.log" 2>&1
  sed -nE 's/^test (.*) \.\.\. ok$/passed\t\1/p; s/^test (.*) \.\.\. FAILED$/failed\t\1/p' "$2.log" >"$2"
}
