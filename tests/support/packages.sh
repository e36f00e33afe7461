# shellcheck shell=bash
# Installing with the system's package manager, for scripts that source this. Nobody is asked for a password:
# a test run has nobody to ask.

as_root() {
  if [ "$(id -u)" = 0 ]; then
    "$@"
  else
    sudo -n "$@"
  fi
}

may_install() { [ "$(id -u)" = 0 ] || sudo -n true 2>/dev/null; }

# What it prints goes to standard error. The exit status is the installation's: that one of many sources
# could not be refreshed need not matter.
apt_install() { # PACKAGE...
  command -v apt-get >/dev/null && may_install || return 1
  as_root apt-get update -q </dev/null >&2 || true
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$@" \
    </dev/null >&2
}
