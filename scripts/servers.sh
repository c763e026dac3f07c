#!/usr/bin/env bash
# Brings the Valkey and Redis servers that tests, benches and the playground run, once per machine.
#
#   scripts/servers.sh              all four versions
#   scripts/servers.sh VERSION...   only these, for example valkey-8.1 redis-7.0
#   scripts/servers.sh --one        one server is enough: nothing to do when one (>= 7) is on the PATH or
#                                   was brought before, else the newest
#   scripts/servers.sh --list       what is there, one line a version
#
# They come as Debian packages from Debian's own suites and are unpacked, not installed, into
# ${XDG_CACHE_HOME:-~/.cache}/slotproxy/servers/VERSION (SLOTPROXY_SERVERS names another folder):
#
#   server cli benchmark   wrappers, to be run like the programs themselves
#   bin/ lib/              the programs, and the suite's own C library and loader beside them, so that a
#                          program of a newer or older Debian runs here
#   VERSION                the package's full version
#
# Nothing of the machine is changed and root is not needed: apt works on a private state. The mirror, its
# proxy settings and the keyring are taken from the machine's own apt configuration, signatures are checked.
# Elsewhere than on Debian the servers on the PATH are used.
set -euo pipefail

# name | package stem | suites, the first one has the package, the others the libraries it needs
readonly TABLE='
valkey-9.1|valkey|forky
valkey-8.1|valkey|trixie
valkey-8.0|valkey|bookworm-backports bookworm
redis-7.0|redis|bookworm
'
readonly FOLDER=${SLOTPROXY_SERVERS:-${XDG_CACHE_HOME:-${HOME:?neither HOME nor XDG_CACHE_HOME is set}/.cache}/slotproxy/servers}
# The oldest major version that slotproxy works with.
readonly OLDEST=7

WORK=      # temporary folder beside the results, so that the last step is one rename
MIRROR=    # the mirror that answered
KEYRING=   # the keyring that verified its suites, or empty: apt's own trusted keys

say() { printf 'servers: %s\n' "$*"; }
fail() { printf 'servers: error: %s\n' "$*" >&2; exit 1; }
names() { printf '%s' "$TABLE" | cut -d'|' -f1 | grep .; }
field() { printf '%s' "$TABLE" | grep -F "$1|" | cut -d'|' -f"$2"; }
present() { [ -x "$FOLDER/$1/server" ]; }
is_debian() { grep -qx 'ID=debian' /etc/os-release 2>/dev/null && command -v apt-get >/dev/null; }

# version_of PROGRAM: 9.1.2, from "Server v=9.1.2 sha=..." or "Valkey server v=9.1.2 ..."
version_of() { "$1" --version 2>/dev/null | sed -n 's/.*[ ]v=\([0-9][0-9.]*\).*/\1/p'; }

# on_path: the first server on the PATH that is new enough, as "PROGRAM VERSION"
on_path() {
  local name program version
  for name in valkey-server redis-server; do
    program=$(command -v "$name") || continue
    version=$(version_of "$program")
    [ -n "$version" ] && [ "${version%%.*}" -ge "$OLDEST" ] && { echo "$program $version"; return 0; }
  done
  return 1
}

list() {
  local name found
  for name in $(names); do
    if present "$name"; then say "$name $(cat "$FOLDER/$name/VERSION") in $FOLDER/$name"; fi
  done
  if found=$(on_path); then say "on the PATH: $found"; fi
}

elsewhere() {
  local found
  if found=$(on_path); then
    say "this is not Debian, so no packages are fetched; on the PATH: $found"
    return 0
  fi
  fail "no valkey-server or redis-server >= $OLDEST on the PATH, and packages can be fetched on Debian only." \
    "Install one (brew install valkey; dnf install valkey; apk add valkey valkey-cli; pacman -S valkey) and run this again," \
    "or use docker compose up."
}

# candidates: the mirrors of the machine's own apt sources which have a Debian release with a section "main"
candidates() {
  local codename
  codename=$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)
  env -u APT_CONFIG apt-get --print-uris update 2>/dev/null |
    sed -n "s#^'\(.*/\)dists/\(${codename:-stable}\|bookworm\|trixie\|forky\|stable\|testing\|unstable\|sid\)/\(main/binary-\|InRelease\).*#\1#p" |
    awk '!seen[$0]++'
}

# keyrings: those which the machine's apt sources name, then the package's usual places
keyrings() {
  local file
  sed -n -e 's/.*[Ss]igned-[Bb]y[:=][ ]*\(\/[^] ,]*\).*/\1/p' /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null |
    grep debian-archive || true
  for file in /usr/share/keyrings/debian-archive-keyring.pgp /usr/share/keyrings/debian-archive-keyring.gpg; do
    if [ -r "$file" ]; then echo "$file"; fi
  done
}

# apt_state NAME: a private apt that keeps the machine's proxies and time-outs and nothing else of it
apt_state() {
  local dir=$WORK/apt-$1
  mkdir -p "$dir/state/lists/partial" "$dir/cache/archives/partial"
  : >"$dir/status"
  {
    env -u APT_CONFIG apt-config dump | grep '^Acquire' | grep -v 'IndexTargets'
    cat <<CONF
Acquire::Languages "none";
Acquire::Retries "3";
APT::Sandbox::User "root";
Dir::Etc::main "/dev/null";
Dir::Etc::parts "/dev/null";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
Dir::Etc::sourcelist "$dir/sources.list";
Dir::State "$dir/state";
Dir::State::status "$dir/status";
Dir::Cache "$dir/cache";
CONF
  } >"$dir/apt.conf"
  export APT_CONFIG=$dir/apt.conf
}

# update NAME SUITES MIRROR KEYRING [OPTION]: fetches the package lists of the suites; the log stays in NAME's folder
update() {
  local dir=$WORK/apt-$1 suite option
  option="arch=$(dpkg --print-architecture)"
  rm -rf "$dir"
  apt_state "$1"
  if [ -n "$4" ]; then option="$option signed-by=$4"; fi
  for suite in $2; do
    printf 'deb [%s%s] %s %s main\n' "$option" "${5:+ $5}" "$3" "$suite"
  done >"$dir/sources.list"
  apt-get -q update >"$dir/log" 2>&1 || return 1
  # apt ends with 0 also after a fetch that failed, but keeps only lists that it has verified.
  for suite in $2; do
    [ -n "$(find "$dir/state/lists" -name "*_dists_${suite}_main_binary-*_Packages*")" ] || return 1
  done
}

# grow_keyring NAME SUITES MIRROR: a Debian older than the suite may lack its key. Every suite carries the
# keyring of the next ones, so one that verifies already hands over a newer keyring.
grow_keyring() {
  local suite keyring dir=$WORK/keys deb
  for suite in bookworm trixie forky; do
    keyring=$KEYRING
    update "$1" "$suite" "$3" "$keyring" || continue
    mkdir -p "$dir/$suite"
    (cd "$dir/$suite" && apt-get -q download debian-archive-keyring >/dev/null 2>&1) || continue
    deb=$(echo "$dir/$suite"/*.deb)
    dpkg-deb -x "$deb" "$dir/$suite"
    for keyring in "$dir/$suite"/usr/share/keyrings/debian-archive-keyring.{pgp,gpg}; do
      if [ -r "$keyring" ]; then KEYRING=$keyring; break; fi
    done
    update "$1" "$2" "$3" "$KEYRING" && return 0
  done
  return 1
}

# reach NAME SUITES: finds a mirror and a keyring with which the suites verify, and leaves apt set up for them
reach() {
  local mirror keyring mirrors
  if [ -n "$MIRROR" ] && update "$1" "$2" "$MIRROR" "$KEYRING"; then return 0; fi
  mirrors=$(candidates)
  [ -n "$mirrors" ] || fail "no Debian mirror in this machine's apt sources (apt-get --print-uris update shows none)"
  for mirror in $mirrors; do
    for keyring in $(keyrings | awk '!seen[$0]++') ""; do
      MIRROR=$mirror KEYRING=$keyring
      if update "$1" "$2" "$mirror" "$keyring"; then return 0; fi
    done
  done
  for mirror in $mirrors; do
    KEYRING=$(keyrings | head -n 1) MIRROR=$mirror
    if grow_keyring "$1" "$2" "$mirror"; then return 0; fi
  done
  cat "$WORK/apt-$1/log" >&2
  if [ "${SLOTPROXY_SERVERS_UNSIGNED:-}" != 1 ]; then
    say "the suites '$2' could not be fetched and verified (apt's own words above)." \
      "If only the signing key is missing, SLOTPROXY_SERVERS_UNSIGNED=1 takes the packages unchecked." >&2
    return 1
  fi
  say "WARNING: taking packages of '$2' WITHOUT checking their signatures" >&2
  update "$1" "$2" "$MIRROR" "" trusted=yes
}

# libraries PACKAGE...: the library packages these need, through libraries only, first alternatives
libraries() {
  local todo=("$@") seen=" $* " package next
  while [ ${#todo[@]} -gt 0 ]; do
    next=()
    for package in $(apt-cache depends --important "${todo[@]}" |
      awk '/Depends:/ { if (!alternative && $2 ~ /^(lib|zlib1g)/) print $2; alternative = ($1 ~ /^\|/) }'); do
      case $seen in *" $package "*) continue ;; esac
      seen="$seen$package " next+=("$package")
      echo "$package"
    done
    todo=(${next[@]+"${next[@]}"})
  done
}

# wrapper FILE PROGRAM: runs bin/PROGRAM through the unpacked loader. exec keeps the pid and the signals the
# program's own; --argv0 keeps its name (the server looks at it to know whether it is its own RDB checker);
# --inhibit-cache keeps the machine's libraries out.
wrapper() {
  cat >"$1" <<WRAPPER
#!/bin/sh
# Written by scripts/servers.sh.
file=\$0
if [ -L "\$file" ]; then file=\$(readlink -f "\$file"); fi
dir=\${file%/*}
exec "\$dir/lib/$3" --argv0 $2 --inhibit-cache --library-path "\$dir/lib" "\$dir/bin/$2" "\$@"
WRAPPER
  chmod 755 "$1"
}

# unpack NAME STEM: packages of the suite that apt is set up for -> $WORK/NAME
unpack() {
  local name=$1 stem=$2 root=$WORK/root-$1 debs=$WORK/debs-$1 out=$WORK/$1 deb program file loader packages
  mkdir -p "$root" "$debs" "$out/bin" "$out/lib"
  packages=$(libraries "$stem-server" "$stem-tools" | tr '\n' ' ')
  # shellcheck disable=SC2086 # a list of package names
  (cd "$debs" && apt-get -q download "$stem-server" "$stem-tools" $packages) >"$WORK/download-$name.log" 2>&1 ||
    { cat "$WORK/download-$name.log" >&2; return 1; }
  for deb in "$debs"/*.deb; do dpkg-deb -x "$deb" "$root" || return 1; done
  for program in server cli benchmark; do
    file=$root/usr/bin/$stem-$program
    # The server is a link with an absolute target, to the checker in the other package.
    if [ -L "$file" ]; then file=$root/usr/bin/$(basename "$(readlink "$file")"); fi
    cp "$file" "$out/bin/$stem-$program" || return 1
  done
  find "$root/lib" "$root/usr/lib" -maxdepth 2 -name '*.so*' -exec cp -P -n {} "$out/lib/" \; 2>/dev/null
  loader=$(cd "$out/lib" && for file in ld-linux*.so.* ld64.so.*; do if [ -f "$file" ]; then echo "$file"; break; fi; done)
  [ -n "$loader" ] || { say "$name: no loader among the unpacked libraries" >&2; return 1; }
  for program in server cli benchmark; do wrapper "$out/$program" "$stem-$program" "$loader"; done
  dpkg-deb -f "$(echo "$debs/$stem-server"_*.deb)" Version >"$out/VERSION"
}

# check NAME: the unpacked programs start, find all their libraries, and are of the version that the name says
check() {
  local name=$1 out=$WORK/$1 version program
  for program in server cli benchmark; do
    "$out/$program" --version >/dev/null || { say "$name: $program does not start" >&2; return 1; }
  done
  version=$(version_of "$out/server")
  case $version in
    "${name#*-}".*) return 0 ;;
  esac
  say "$name: the suite now has version $version; write a new line into the table in scripts/servers.sh" >&2
  return 1
}

bring() {
  local name=$1 stem suites begin=$SECONDS
  stem=$(field "$name" 2) suites=$(field "$name" 3)
  say "$name: fetching $stem-server and $stem-tools of Debian ${suites%% *}"
  reach "$name" "$suites" || return 1
  unpack "$name" "$stem" || return 1
  check "$name" || return 1
  rm -rf "${FOLDER:?}/$name" # left over without a server: present() said so
  mv "$WORK/$name" "$FOLDER/$name"
  say "$name $(cat "$FOLDER/$name/VERSION") in $FOLDER/$name ($((SECONDS - begin)) s)"
}

# locked COMMAND...: one run at a time on this machine; the second finds the work done
locked() {
  mkdir -p "$FOLDER"
  exec 9>"$FOLDER/.lock"
  flock -n 9 || { say "waiting for another run"; flock 9; }
  WORK=$(mktemp -d "$FOLDER/.work.XXXXXX")
  trap 'rm -rf "$WORK"' EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM
  # Leftovers of runs that were killed; ours is the only one that works.
  find "$FOLDER" -maxdepth 1 -name '.work.*' ! -path "$WORK" -exec rm -rf {} +
  "$@"
}

bring_all() {
  local name failed=
  for name in "$@"; do
    present "$name" && continue
    bring "$name" || failed="$failed $name"
  done
  [ -z "$failed" ] || fail "not brought:$failed"
}

bring_one() {
  local name
  for name in $(names); do
    present "$name" && return 0
  done
  for name in $(names); do
    bring "$name" && return 0
    say "$name: failed, trying an older one" >&2
  done
  fail "no server could be brought"
}

one() {
  local name found
  for name in $(names); do
    if present "$name"; then say "$name is there"; return 0; fi
  done
  if found=$(on_path); then say "on the PATH: $found"; return 0; fi
  is_debian || elsewhere
  locked bring_one
}

all() {
  local name missing=0
  for name in "$@"; do
    [ -n "$(field "$name" 1)" ] || fail "unknown version '$name'; known: $(names | tr '\n' ' ')"
    present "$name" || missing=1
  done
  if [ $missing = 1 ]; then
    is_debian || { elsewhere; return 0; }
    locked bring_all "$@"
  fi
  for name in "$@"; do say "$name $(cat "$FOLDER/$name/VERSION") is there"; done
}

main() {
  case ${1:-} in
    -h | --help) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p;}' "$0" ;;
    --list) list ;;
    --one) one ;;
    -*) fail "unknown option $1; see --help" ;;
    "") all $(names) ;;
    *) all "$@" ;;
  esac
}

main "$@"
