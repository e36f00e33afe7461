#!/usr/bin/env bash
# A PostgreSQL primary and its streaming standby, made from nothing and gone without a trace.
#
# Kept to bash 3.2 and portable tools, because macOS ships nothing newer.
set -euo pipefail

usage() {
  cat <<'HELP'
usage: cluster.sh start DIR [--bin BINDIR | --version MAJOR] [--owner PID] [--async]
                             [--standbys 1|2] [--set LINE]
       cluster.sh stop DIR
       cluster.sh standby DIR stop|start [2]
       cluster.sh primary DIR stop
       cluster.sh run DIR COMMAND [ARG...]
       cluster.sh find [MAJOR]

start    Makes a primary and a streaming standby on free ports of 127.0.0.1, with everything
         they write below DIR, and describes them in DIR/env, which a shell can source. Works
         as root (the servers then run as postgres, or nobody) and as an ordinary user.
           --bin BINDIR     use these PostgreSQL programs
           --version MAJOR  use programs of this major version
           --owner PID      stop and remove everything when this process is gone; by default
                            the process that called this script, `none` to keep the servers.
                            A script should pass $$: the caller of a $(…) is gone at once.
           --async          commits do not wait for the standby. Without it they wait until
                            it has replayed them, so that a test sees no replication lag.
           --standbys 2     a second standby beside it, for which no commit waits
           --set LINE       one more line in postgresql.conf of all servers
stop     Stops the servers and removes what was made in DIR, and DIR if nothing else is there.
standby  Stops or starts the standby alone, or the second one. While the first is down, commits
         do not wait for it.
primary  Stops the primary alone, for good: its standby may have been promoted.
run      Becomes COMMAND, which `stop` and the watchdog then end along with the servers.
find     Prints the directory of PostgreSQL's programs, or fails.

Programs are looked for in PGTURNOUT_PG_BIN, PATH, the folders of the distributions, and
what get-postgres.sh has fetched. With PGTURNOUT_PG_VERSION only that major version will do.

DIR/env defines, each as NAME='value':
  PRIMARY_PORT STANDBY_PORT   on PGHOST=127.0.0.1
  STANDBY2_PORT               of the second standby; empty without one
  PGBIN PGVERSION             the programs; the version as a number such as 150018
  DATABASE                    `app`, in which every user may create in schema public, and use
                              what the superuser makes
  SUPERUSER                   `postgres`, by trust; also for replication connections
  TLS                         on, or off when the server was built without it
  CA CERT KEY                 who signed the servers' certificates, and a certificate of its own
                              for a proxy, all for localhost and 127.0.0.1; empty without openssl
  DATA OWNER                  the servers' files (primary/, standby/, *.log); who is watched

Users and how they log in (the password is the name followed by `-secret`):
  u_trust  nothing is asked; both servers log every statement of this user, which tells a
           test where it ran (primary.log, standby.log; the line holds application_name)
  u_clear  password, cleartext
  u_md5    md5
  u_scram  scram-sha-256
  u_tls    scram-sha-256, over TLS only
HELP
}

die() {
  printf 'cluster.sh: %s\n' "$*" >&2
  exit 1
}

self=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)/cluster.sh
repo=$(cd "$(dirname "$self")/../.." && pwd)
cache=${PGTURNOUT_CACHE:-${CARGO_TARGET_DIR:-$repo/target}/pgturnout}
marker=.pgturnout-cluster

# A caller's PGHOST or PGOPTIONS must not reach the programs run here.
for name in $(compgen -v PG || true); do
  case $name in PGTURNOUT_*) ;; *) unset "$name" ;; esac
done
export LC_ALL=C

# --- Finding the programs ---------------------------------------------------------------------

programs_in() { # DIR: all that a cluster needs is there and runs
  local program
  for program in postgres initdb pg_ctl pg_basebackup psql; do
    [ -x "$1/$program" ] || return 1
  done
  "$1/postgres" --version >/dev/null 2>&1
}

major_of() { # DIR
  "$1/postgres" --version | sed -E 's/^[^0-9]*([0-9]+).*/\1/'
}

newest_first() { sort -rV 2>/dev/null || sort -r; }

candidates() {
  local found
  if [ -n "${PGTURNOUT_PG_BIN:-}" ]; then
    # Somebody who names a folder wants that one and no other.
    printf '%s\n' "$PGTURNOUT_PG_BIN"
    return
  fi
  # `type -aP`, not `command -v`: distributions put psql alone in the PATH.
  while read -r found; do
    [ -n "$found" ] && dirname "$found"
  done < <(type -aP postgres || true)
  for found in /usr/lib/postgresql/*/bin /usr/pgsql-*/bin /opt/homebrew/opt/postgresql*/bin \
    /usr/local/opt/postgresql*/bin /usr/local/pgsql/bin \
    /Applications/Postgres.app/Contents/Versions/*/bin \
    /Library/PostgreSQL/*/bin /usr/libexec/postgresql* /usr/local/bin; do
    [ -d "$found" ] && printf '%s\n' "$found"
  done | newest_first
  for found in "$cache"/tls-postgres-*/*/*/bin; do
    if [ -d "$found" ]; then printf '%s\n' "$found"; fi
  done | newest_first
  for found in "$cache"/postgres-*/*/*/bin; do
    [ -d "$found" ] && printf '%s\n' "$found"
  done | newest_first
}

find_programs() { # [MAJOR]
  local want=${1:-${PGTURNOUT_PG_VERSION:-}} dir
  while read -r dir; do
    programs_in "$dir" || continue
    if [ -z "$want" ] || [ "$(major_of "$dir")" = "$want" ]; then
      printf '%s\n' "$dir"
      return 0
    fi
  done < <(candidates)
  return 1
}

# --- Running as somebody who is not root ------------------------------------------------------

# PostgreSQL refuses to run as root.
choose_runner() {
  runner=
  [ "$(id -u)" = 0 ] || return 0
  local user
  for user in "${PGTURNOUT_PG_USER:-postgres}" nobody; do
    if id "$user" >/dev/null 2>&1; then
      runner=$user
      return 0
    fi
  done
  die "root cannot run PostgreSQL and there is no user postgres or nobody: name one in PGTURNOUT_PG_USER"
}

as_runner() { # COMMAND ARG...
  if [ -z "$runner" ]; then
    "$@"
  elif command -v setpriv >/dev/null; then
    HOME=/ setpriv --reuid="$runner" --regid="$(id -g "$runner")" --init-groups -- "$@"
  elif command -v runuser >/dev/null; then
    HOME=/ runuser -u "$runner" -- "$@"
  else
    # shellcheck disable=SC2016
    su "$runner" -s /bin/sh -c 'exec "$0" "$@"' -- "$@"
  fi
}

runner_reaches() { as_runner test -x "$1" 2>/dev/null; }

# The servers' files live in DIR, unless the user they run as cannot get there, as below a
# private home directory.
place_data() {
  data=$dir/cluster
  mkdir "$data"
  if [ -n "$runner" ]; then
    chown "$runner" "$data"
    if ! runner_reaches "$data"; then
      rmdir "$data"
      data=$(mktemp -d "${TMPDIR:-/tmp}/pgturnout.XXXXXX")
      chown "$runner" "$data"
      if ! runner_reaches "$data"; then
        rmdir "$data"
        data=$(mktemp -d /tmp/pgturnout.XXXXXX)
        chown "$runner" "$data"
      fi
    fi
  fi
  chmod 700 "$data"
}

# The same for the programs, when they were fetched into such a place.
place_programs() {
  pgbin_server=$pgbin
  if runner_reaches "$pgbin/postgres"; then
    return
  fi
  local tree
  tree=$(dirname "$pgbin")
  case $pgbin in
    "$cache"/*)
      # What get-postgres.sh fetched finds its libraries only when it stays together.
      tree=${pgbin#"$cache"/}
      tree=$cache/${tree%%/*}
      ;;
  esac
  cp -R "$tree" "$data/programs"
  chown -R "$runner" "$data/programs"
  pgbin_server=$data/programs${pgbin#"$tree"}
}

# --- Configuration ----------------------------------------------------------------------------

random_port() {
  # Below 32768, where no system takes the ports of outgoing connections from.
  local port tries=0
  while [ "$tries" -lt 200 ]; do
    port=$((15000 + (RANDOM * 32768 + RANDOM) % 17000))
    if ! (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
      printf '%s\n' "$port"
      return 0
    fi
    tries=$((tries + 1))
  done
  die "no free port found"
}

make_certificates() {
  tls_dir=$dir/tls
  command -v openssl >/dev/null || return 0
  mkdir "$tls_dir"
  cat >"$tls_dir/openssl.cnf" <<'CNF'
[req]
distinguished_name = name
prompt = no
[name]
CN = pgturnout test
[ca]
basicConstraints = critical, CA:true
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
[server]
basicConstraints = critical, CA:false
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth
subjectAltName = DNS:localhost, IP:127.0.0.1
CNF
  (
    cd "$tls_dir"
    for name in ca server proxy; do
      openssl ecparam -name prime256v1 -genkey -noout -out "$name.key"
      openssl req -new -sha256 -key "$name.key" -subj "/CN=pgturnout test $name" \
        -config openssl.cnf -out "$name.csr"
    done
    openssl x509 -req -sha256 -days 30 -in ca.csr -signkey ca.key -set_serial 1 \
      -extfile openssl.cnf -extensions ca -out ca.pem
    for name in server proxy; do
      openssl x509 -req -sha256 -days 30 -in "$name.csr" -CA ca.pem -CAkey ca.key \
        -set_serial "$RANDOM" -extfile openssl.cnf -extensions server -out "$name.pem"
    done
    rm -f ./*.csr openssl.cnf
  ) >"$dir/openssl.log" 2>&1 || die "openssl failed: $(cat "$dir/openssl.log")"
  rm -f "$dir/openssl.log"
  chmod 600 "$tls_dir"/*.key
}

write_hba() { # TLS
  cat <<'HBA'
# TYPE   DATABASE     USER       ADDRESS       METHOD
host     replication  postgres   127.0.0.1/32  trust
host     all          postgres   127.0.0.1/32  trust
host     all          u_trust    127.0.0.1/32  trust
host     all          u_clear    127.0.0.1/32  password
host     all          u_md5      127.0.0.1/32  md5
host     all          u_scram    127.0.0.1/32  scram-sha-256
HBA
  if [ "$1" = on ]; then
    echo 'hostssl  all          u_tls      127.0.0.1/32  scram-sha-256'
  fi
}

write_config() {
  cat <<'CONF'
listen_addresses = '127.0.0.1'
# No socket file: its path has a limit of about 100 bytes, which a DIR may exceed.
unix_socket_directories = ''
# The live tests run side by side, and one of them has 250 clients.
max_connections = 500
shared_buffers = 64MB
fsync = off
full_page_writes = off
# logical, so that replication connections of both kinds can be tried.
wal_level = logical
max_wal_senders = 10
hot_standby = on
hot_standby_feedback = off
# Queries on the standby wait for nothing and are not cancelled by replay.
max_standby_streaming_delay = -1
wal_receiver_status_interval = 1s
wal_retrieve_retry_interval = 200ms
log_line_prefix = '%m [%p] %q%u@%d/%a '
log_connections = on
log_disconnections = on
password_encryption = 'scram-sha-256'
CONF
}

# --- Starting ---------------------------------------------------------------------------------

server() { # NAME start|stop ARG...
  local name=$1 action=$2
  shift 2
  # --silent and closed inputs: a server must not hold the caller's pipes open.
  as_runner "$pgbin_server/pg_ctl" --silent -D "$data/$name" "$action" "$@" \
    </dev/null >>"$data/$name.ctl.log" 2>&1
}

start_server() { # NAME; sets `port`
  local name=$1 tries=0
  while [ "$tries" -lt 10 ]; do
    port=$(random_port)
    printf 'port = %s\n' "$port" | as_runner tee "$data/$name/port.conf" >/dev/null
    if server "$name" start -w -t 60 -l "$data/$name.log"; then
      return 0
    fi
    # Somebody may have taken the port since it was tried; any other cause will not pass.
    grep -q 'could not bind' "$data/$name.log" || break
    tries=$((tries + 1))
  done
  die "the $name did not start"
}

sql() { # PORT SQL
  "$pgbin_server/psql" -X -q -A -t -v ON_ERROR_STOP=1 -h 127.0.0.1 -p "$1" -U postgres \
    -d postgres -c "$2"
}

start_primary() {
  as_runner "$pgbin_server/initdb" -D "$data/primary" -U postgres -A trust -E UTF8 \
    --no-locale --no-sync </dev/null >"$data/initdb.log" 2>&1 || die "initdb failed"
  tls=off
  if [ -n "$(as_runner "$pgbin_server/postgres" -C ssl_library -D "$data/primary" 2>/dev/null)" ] &&
    [ -f "$tls_dir/server.pem" ]; then
    tls=on
    cp "$tls_dir/server.pem" "$tls_dir/server.key" "$data/primary/"
    if [ -n "$runner" ]; then
      chown "$runner" "$data/primary/server.pem" "$data/primary/server.key"
    fi
  fi
  {
    write_config
    printf '%s\n' "$setting"
    if [ "$tls" = on ]; then
      printf "ssl = on\nssl_cert_file = 'server.pem'\nssl_key_file = 'server.key'\n"
    fi
    echo "include = 'port.conf'"
  } | as_runner tee -a "$data/primary/postgresql.conf" >/dev/null
  write_hba "$tls" | as_runner tee "$data/primary/pg_hba.conf" >/dev/null
  start_server primary
  primary_port=$port
}

create_users() {
  "$pgbin_server/psql" -X -q -v ON_ERROR_STOP=1 -h 127.0.0.1 -p "$primary_port" -U postgres \
    -d postgres <<'SQL' >"$data/setup.log" 2>&1 || die "the users could not be created"
CREATE ROLE u_trust LOGIN PASSWORD 'u_trust-secret';
ALTER ROLE u_trust SET log_statement = 'all';
CREATE ROLE u_clear LOGIN PASSWORD 'u_clear-secret';
CREATE ROLE u_scram LOGIN PASSWORD 'u_scram-secret';
CREATE ROLE u_tls LOGIN PASSWORD 'u_tls-secret';
SET password_encryption = 'md5';
CREATE ROLE u_md5 LOGIN PASSWORD 'u_md5-secret';
CREATE DATABASE app;
\connect app
GRANT ALL ON SCHEMA public TO PUBLIC;
ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO PUBLIC;
ALTER DEFAULT PRIVILEGES GRANT ALL ON SEQUENCES TO PUBLIC;
SQL
}

start_standby() { # NAME; sets `port`
  as_runner "$pgbin_server/pg_basebackup" -D "$data/$1" -R -X stream -c fast --no-sync \
    --no-manifest \
    -d "host=127.0.0.1 port=$primary_port user=postgres application_name=$1 sslmode=disable" \
    </dev/null >"$data/basebackup.log" 2>&1 || die "pg_basebackup failed"
  start_server "$1"
}

await_standby() { # PRIMARY_PORT NAME
  local tries=0
  until [ "$(sql "$1" "SELECT state FROM pg_stat_replication WHERE application_name = '$2'")" = streaming ]; do
    tries=$((tries + 1))
    [ "$tries" -lt 300 ] || die "the $2 does not stream"
    sleep 0.1
  done
}

# Settings changed with ALTER SYSTEM are each a transaction that waits for nobody.
set_synchronous() { # PRIMARY_PORT STANDBY_NAMES
  sql "$1" "ALTER SYSTEM SET synchronous_commit = 'remote_apply'" >/dev/null
  sql "$1" "ALTER SYSTEM SET synchronous_standby_names = '$2'" >/dev/null
  sql "$1" "SELECT pg_reload_conf()" >/dev/null
  local tries=0
  until [ "$(sql "$1" "SHOW synchronous_standby_names")" = "$2" ]; do
    tries=$((tries + 1))
    [ "$tries" -lt 100 ] || die "the primary does not reload its configuration"
    sleep 0.05
  done
}

write_env() {
  local ca='' cert='' key=''
  if [ -f "$tls_dir/ca.pem" ]; then
    ca=$tls_dir/ca.pem cert=$tls_dir/proxy.pem key=$tls_dir/proxy.key
  fi
  cat >"$dir/env.new" <<ENV
PGHOST='127.0.0.1'
PRIMARY_PORT='$primary_port'
STANDBY_PORT='$standby_port'
STANDBY2_PORT='$standby2_port'
PGBIN='$pgbin_server'
PGVERSION='$(sql "$primary_port" 'SHOW server_version_num')'
DATABASE='app'
SUPERUSER='postgres'
TLS='$tls'
CA='$ca'
CERT='$cert'
KEY='$key'
SYNCHRONOUS='$synchronous'
DATA='$data'
OWNER='$owner'
ENV
  # Renamed into place: whoever sees the file sees all of it.
  mv "$dir/env.new" "$dir/env"
}

report_failure() {
  local log
  for log in "$data"/*.log; do
    [ -s "$log" ] || continue
    printf -- '--- %s\n' "$log" >&2
    tail -n 20 "$log" >&2
  done
}

abandon() {
  local code=$?
  trap - EXIT
  [ -z "$data" ] || report_failure
  stop
  exit "$code"
}

start() {
  [ -n "$pgbin" ] || pgbin=$(find_programs "$version") ||
    die "no PostgreSQL${version:+ $version} found: name its programs' folder in PGTURNOUT_PG_BIN, or run tests/support/get-postgres.sh"
  programs_in "$pgbin" || die "$pgbin does not hold PostgreSQL's programs"
  case $dir in *\'*) die "a path with a quote in it: $dir" ;; esac
  if [ -e "$dir" ] && [ -n "$(ls -A "$dir")" ]; then
    die "$dir is not empty"
  fi
  case $standbys in 1 | 2) ;; *) die "standbys: 1 or 2, not $standbys" ;; esac
  mkdir -p "$dir"
  dir=$(cd "$dir" && pwd)
  choose_runner
  data=
  : >"$dir/$marker"
  # From here on a failure, a signal and the owner's death all end in `stop`.
  trap abandon EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM HUP
  place_data
  printf '%s\n' "$data" >"$dir/$marker"
  watch_owner
  # Programs that run as somebody else look for their working directory.
  cd "$data"
  place_programs
  make_certificates
  start_primary
  create_users
  start_standby standby
  standby_port=$port standby2_port=
  await_standby "$primary_port" standby
  if [ "$standbys" = 2 ]; then
    start_standby standby2
    standby2_port=$port
    await_standby "$primary_port" standby2
  fi
  if [ "$synchronous" = on ]; then
    set_synchronous "$primary_port" standby
  fi
  write_env
  trap - EXIT INT TERM HUP
}

# --- Stopping ---------------------------------------------------------------------------------

stop_companions() {
  [ -f "$dir/companions" ] || return 0
  local pid who
  while read -r pid who; do
    if [ "$(identity "$pid")" = "$who" ]; then
      # Not asked politely: what serves these servers' clients has nothing left to finish.
      kill -KILL "$pid" 2>/dev/null || true
    fi
  done <"$dir/companions"
}

stop_server() { # NAME
  [ -f "$data/$1/postmaster.pid" ] || return 0
  local pid tries=0
  pid=$(head -n 1 "$data/$1/postmaster.pid")
  # After a crash the number may be somebody else's by now; a server works in its own folder.
  if [ -e "/proc/$pid/cwd" ] && ! [ "/proc/$pid/cwd" -ef "$data/$1" ]; then
    return 0
  fi
  # An immediate shutdown: nothing here is worth a checkpoint.
  kill -QUIT "$pid" 2>/dev/null || return 0
  while kill -0 "$pid" 2>/dev/null; do
    tries=$((tries + 1))
    [ "$tries" -lt 100 ] || kill -KILL "$pid" 2>/dev/null || true
    sleep 0.05
  done
}

# Removes only what `start` made: a folder without its marker is left alone.
stop() {
  [ -f "$dir/$marker" ] || die "$dir holds no cluster"
  dir=$(cd "$dir" && pwd)
  data=$(cat "$dir/$marker")
  choose_runner
  cd /
  stop_companions
  if [ -n "$data" ]; then
    stop_server standby2
    stop_server standby
    stop_server primary
    rm -rf "$data"
  fi
  # The marker goes last, so that a stop that was interrupted can be repeated.
  rm -rf "$dir/tls" "$dir/env" "$dir/env.new" "$dir/cluster" "$dir/openssl.log" "$dir/companions"
  rm -f "$dir/$marker"
  rmdir "$dir" 2>/dev/null || true
}

standby() { # stop|start [2]
  [ -f "$dir/env" ] || die "$dir holds no running cluster"
  choose_runner
  # shellcheck source=/dev/null
  . "$dir/env"
  unset PGHOST
  # shellcheck disable=SC2153
  pgbin_server=$PGBIN data=$DATA synchronous=$SYNCHRONOUS primary_port=$PRIMARY_PORT
  cd "$data"
  local name=standby
  case ${2:-} in
    '') ;;
    2) name=standby2 synchronous=off ;;
    *) die "standby: there is no $2" ;;
  esac
  case $1 in
    stop)
      # First, or the next commit waits for a standby that is gone.
      [ "$synchronous" = off ] || set_synchronous "$primary_port" ''
      server "$name" stop -w -t 60 -m fast || die "the $name did not stop"
      ;;
    start)
      server "$name" start -w -t 60 -l "$data/$name.log" || die "the $name did not start"
      await_standby "$primary_port" "$name"
      [ "$synchronous" = off ] || set_synchronous "$primary_port" standby
      ;;
    *) die "standby: stop or start, not $1" ;;
  esac
}

primary() { # stop
  [ -f "$dir/env" ] || die "$dir holds no running cluster"
  [ "$1" = stop ] || die "primary: stop, not $1"
  choose_runner
  # shellcheck source=/dev/null
  . "$dir/env"
  unset PGHOST
  pgbin_server=$PGBIN data=$DATA
  cd "$data"
  server primary stop -w -t 60 -m fast || die "the primary did not stop"
}

# --- The watchdog -----------------------------------------------------------------------------

# Who a process is: its start time tells it from a later process with the same number. Empty
# when there is none, or only what is left of it until its parent asks (state Z).
identity() { # PID
  local stat
  if [ -r "/proc/$1/stat" ]; then
    stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 0
    # The program's name, in parentheses, may hold blanks: what counts is behind the last one.
    # shellcheck disable=SC2086
    set -- ${stat##*) }
    case $1 in Z | X) ;; *) printf '%s\n' "${20}" ;; esac
  elif [ ! -d /proc/self ]; then
    ps -o stat=,lstart= -p "$1" 2>/dev/null | grep -v '^Z' | sed 's/^[^ ]* *//' || true
  fi
}

watch_owner() {
  [ "$owner" != none ] || return 0
  local who
  who=$(identity "$owner")
  [ -n "$who" ] || die "the owner, process $owner, does not exist"
  # Its own session, so that a signal to the owner's process group does not take it along.
  local detach=nohup
  if command -v setsid >/dev/null; then
    detach=setsid
  fi
  "$detach" bash "$self" reap "$dir" "$owner" "$who" </dev/null >/dev/null 2>&1 &
}

reap() { # PID IDENTITY
  while [ -f "$dir/$marker" ]; do
    if [ "$(identity "$1")" != "$2" ]; then
      stop
      return 0
    fi
    sleep 0.5
  done
}

# --- Companions -------------------------------------------------------------------------------

run() { # COMMAND ARG...
  [ -f "$dir/$marker" ] || die "$dir holds no cluster"
  # `exec` keeps both the number and the start time.
  printf '%s %s\n' "$$" "$(identity "$$")" >>"$dir/companions"
  exec "$@"
}

# --- Command line -----------------------------------------------------------------------------

main() {
  case ${1:---help} in
    -h | --help)
      usage
      return 0
      ;;
    find)
      find_programs "${2:-}" || die "no PostgreSQL${2:+ $2} found"
      return 0
      ;;
  esac
  [ "$#" -ge 2 ] || {
    usage >&2
    exit 2
  }
  local command=$1
  dir=$2
  shift 2
  case $command in
    start)
      pgbin='' version=${PGTURNOUT_PG_VERSION:-} owner=$PPID synchronous=on tls_dir= standbys=1 setting=
      while [ "$#" -gt 0 ]; do
        case $1 in
          --async) synchronous=off ;;
          --bin | --version | --owner | --standbys | --set)
            [ "$#" -ge 2 ] || die "$1 needs a value"
            case $1 in
              --bin) pgbin=$2 ;;
              --version) version=$2 ;;
              --owner) owner=$2 ;;
              --standbys) standbys=$2 ;;
              --set) setting=$2 ;;
            esac
            shift
            ;;
          *) die "start: unknown option $1" ;;
        esac
        shift
      done
      start
      ;;
    stop) stop ;;
    run) run "$@" ;;
    standby) standby "${1:-}" "${2:-}" ;;
    primary) primary "${1:-}" ;;
    # Not for callers: the watchdog that `start` leaves behind.
    reap) reap "$@" ;;
    *)
      usage >&2
      exit 2
      ;;
  esac
}

main "$@"
