#!/usr/bin/env bash
# Compares slotproxy with a cluster without a proxy, haproxy (TCP mode), twemproxy and the bare loop, on this machine: processor time
# per command, throughput, latency, memory. Prints tables and writes Markdown and a page with plots to bench/results; ends with 1 when
# slotproxy misses a bar.
#
#   bench/compare.sh                       GET and SET, pipeline 1 and 16: about five minutes
#   bench/compare.sh -set bars             what slotproxy must meet: about six minutes
#   bench/compare.sh -set full             the whole matrix: an hour
#   bench/compare.sh -set growth           clients, nodes, keys
#   bench/compare.sh -set rates            latency below saturation: about six minutes
#   bench/compare.sh -set gc               the garbage collector: six minutes
#   bench/compare.sh -rounds 1 -out ''     a quick look
#   bench/compare.sh -awake                processors that do not sleep: in a virtual machine, waking one takes longer than a command
#   bench/compare.sh -cases MULTI:16 -against old/slotproxy      what a change does to one of them
#   bench/compare.sh -adapter bench/adapters/predixy.yaml        with another proxy
set -euo pipefail
cd "$(dirname "$0")/.."

PATH=$PATH:/usr/sbin
for program in haproxy nutcracker; do
  if command -v "$program" >/dev/null; then
    continue
  fi
  if [ "$(id -u)" = 0 ] && grep -qx 'ID=debian' /etc/os-release; then
    apt-get install -y --no-install-recommends "$program" >&2
  else
    echo "compare: without $program, which is not installed (Debian: apt-get install haproxy nutcracker)" >&2
  fi
done
[ -x bin/slotproxy ] || make build
mkdir -p bin
go build -o bin/compare ./bench/compare
go build -o bin/floor ./bench/floor
exec bin/compare "$@"
