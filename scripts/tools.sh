#!/usr/bin/env bash
# Makes sure that programs which tests and benches use are on this machine.
#
#   scripts/tools.sh NAME...    gcc (the race detector), node, npm, haproxy, nutcracker
#
# What is missing is installed from Debian's packages when this runs as root on Debian; else the script tells
# how and fails. Servers come by scripts/servers.sh, which needs no root.
set -euo pipefail

# name | Debian package(s)
readonly TABLE='
gcc|gcc libc6-dev
node|nodejs
npm|npm
haproxy|haproxy
nutcracker|nutcracker
'

fail() { printf 'tools: error: %s\n' "$*" >&2; exit 1; }
# Debian puts daemons where an ordinary user's PATH does not look.
there() { PATH=$PATH:/usr/sbin:/sbin command -v "$1" >/dev/null; }

main() {
  local name line packages='' missing=''
  [ $# -gt 0 ] || fail "name what is needed; see the top of this file"
  for name in "$@"; do
    line=$(printf '%s' "$TABLE" | grep "^$name|") || fail "unknown tool '$name'"
    there "$name" && continue
    missing="$missing $name" packages="$packages ${line#*|}"
  done
  [ -n "$missing" ] || return 0
  if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    fail "missing:$missing. On Debian: sudo apt-get install$packages"
  fi
  printf 'tools: installing%s\n' "$packages"
  export DEBIAN_FRONTEND=noninteractive
  # shellcheck disable=SC2086 # a list of package names
  { apt-get -qq update && apt-get -qq install -y --no-install-recommends $packages; } >/dev/null ||
    fail "apt-get install$packages failed"
  for name in $missing; do there "$name" || fail "$name is still missing after apt-get install$packages"; done
}

main "$@"
