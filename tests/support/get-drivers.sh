#!/usr/bin/env bash
# Gets the drivers that the tests use, where their language is installed.
set -euo pipefail

usage() {
  cat <<'HELP'
usage: get-drivers.sh python|node|java

python  prints a Python that has psycopg 3 and asyncpg
node    prints a folder for NODE_PATH that has node-postgres
java    prints a class path that has pgjdbc, of Debian's package

They are installed into a cache, nowhere else. Fails, with the reason on standard error: with
exit code 3 where the language is missing, or apt-get for Java, which is for whoever sets the
machine up; with another where the packages cannot be had. With CI=true the tests skip what
is missing for the first reason, and fail for the second.

PGTURNOUT_CACHE  the cache; by default pgturnout/ in Cargo's target directory
HELP
}

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
repo=$(cd "$here/../.." && pwd)
cache=${PGTURNOUT_CACHE:-${CARGO_TARGET_DIR:-$repo/target}/pgturnout}
requirements=$repo/tests/clients/requirements.txt
# The version the scripts were written against.
node_pg=pg@8.23.1
# shellcheck source=tests/support/packages.sh
. "$here/packages.sh"

make_venv() {
  rm -rf "$cache/venv"
  python3 -m venv "$cache/venv"
}

get_python() {
  command -v python3 >/dev/null || {
    echo "no python3" >&2
    return 3
  }
  if ! cmp -s "$requirements" "$cache/venv/installed.txt"; then
    mkdir -p "$cache"
    # Debian's Python comes without the module.
    make_venv || { apt_install python3-venv && make_venv; } || return 1
    "$cache/venv/bin/python" -m pip install --quiet --disable-pip-version-check -r "$requirements" ||
      return 1
    cp "$requirements" "$cache/venv/installed.txt"
  fi
}

get_node() {
  command -v node >/dev/null && command -v npm >/dev/null || {
    echo "no Node.js with npm" >&2
    return 3
  }
  if [ "$(cat "$cache/node/installed" 2>/dev/null)" != "$node_pg" ]; then
    rm -rf "$cache/node"
    mkdir -p "$cache/node"
    npm install --loglevel=error --no-audit --no-fund --no-save --prefix "$cache/node" "$node_pg" ||
      return 1
    printf '%s\n' "$node_pg" >"$cache/node/installed"
  fi
}

get_java() {
  # A whole development kit: the tests give it a source file.
  command -v javac >/dev/null || {
    echo "no Java development kit" >&2
    return 3
  }
  if [ ! -e "$cache/java/usr/share/java/postgresql.jar" ]; then
    command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || {
      echo "no apt-get, whose package of pgjdbc is used" >&2
      return 3
    }
    rm -rf "$cache/java"
    mkdir -p "$cache/java"
    (cd "$cache/java" && download_jdbc && dpkg-deb -x ./*.deb .) || return 1
  fi
}

download_jdbc() {
  apt-get download -q libpostgresql-jdbc-java || {
    # The lists of packages may be missing or old.
    may_install && as_root apt-get update -q && apt-get download -q libpostgresql-jdbc-java
  }
}

case ${1:---help} in
  -h | --help) usage ;;
  python)
    get_python </dev/null >&2
    printf '%s\n' "$cache/venv/bin/python"
    ;;
  node)
    get_node </dev/null >&2
    printf '%s\n' "$cache/node/node_modules"
    ;;
  java)
    get_java </dev/null >&2
    printf '%s\n' "$cache/java/usr/share/java/postgresql.jar"
    ;;
  *)
    usage >&2
    exit 2
    ;;
esac
