#!/bin/sh
# Makes a cluster out of the nodes in PRIMARIES, which share the slots, and EMPTY, which get none. Both are lists of
# host:port. Does nothing where the cluster is there already.
set -eu

# CLUSTER MEET takes addresses, not names.
address() {
  host=${1%:*}
  found=$(getent hosts "$host" | awk 'NR == 1 { print $1 }')
  [ -n "$found" ] || { echo "create: no address for $host" >&2; return 1; }
  echo "$found:${1##*:}"
}

ask() { valkey-cli -h "${1%:*}" -p "${1##*:}" cluster info | tr -d '\r'; }

# Waits until a node says that, at most 30 s: nodes tell each other news within a few.
wait_for() {
  tries=0
  until ask "$1" | grep -qx "$2"; do
    tries=$((tries + 1))
    [ "$tries" -lt 60 ] || { echo "create: $1 does not come to $2" >&2; return 1; }
    sleep 0.5
  done
}

addresses=
count=0
for node in $PRIMARIES; do
  one=$(address "$node")
  addresses="$addresses $one" count=$((count + 1))
done
first=${addresses# }
first=${first%% *}

if ! ask "$first" | grep -qx cluster_state:ok; then
  # shellcheck disable=SC2086 # a list of addresses
  valkey-cli --cluster create $addresses --cluster-yes
fi
for one in $addresses; do
  wait_for "$one" cluster_state:ok
  wait_for "$one" "cluster_size:$count"
done

for node in $EMPTY; do
  one=$(address "$node")
  if ask "$one" | grep -qx cluster_known_nodes:1; then
    valkey-cli --cluster add-node "$one" "$first"
  fi
  wait_for "$one" cluster_state:ok
done
echo "create: the cluster is ready"
