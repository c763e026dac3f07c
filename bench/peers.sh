#!/usr/bin/env bash
# Compares slotproxy with haproxy (TCP mode) and twemproxy on this machine: processor time per command, and the latency of one
# client. Prints a table and the ratios with the bars that slotproxy must meet; ends with 1 when one is missed.
#
#   bench/peers.sh                       five rounds, about three minutes
#   bench/peers.sh -rounds 1 -seconds 1  a quick look
#   bench/peers.sh -cases MULTI:16 -against old/slotproxy   what a change does to one of them
set -euo pipefail
cd "$(dirname "$0")/.."

for program in haproxy nutcracker; do
  if ! command -v "$program" >/dev/null && ! [ -x "/usr/sbin/$program" ]; then
    if [ "$(id -u)" = 0 ] && grep -qx 'ID=debian' /etc/os-release; then
      apt-get install -y --no-install-recommends "$program"
    else
      echo "peers: $program is not installed (Debian: apt-get install haproxy nutcracker)" >&2
      exit 2
    fi
  fi
done
[ -x bin/slotproxy ] || make build
mkdir -p bin
go build -o bin/peers ./bench/peers
go build -o bin/floor ./bench/floor
PATH=$PATH:/usr/sbin exec bin/peers "$@"
