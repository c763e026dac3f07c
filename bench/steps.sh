#!/usr/bin/env bash
# Runs the benchmarks of the single steps (parse, decide, frame, forward, split, merge, flush), of the whole path and of the rejected
# variants, and writes them for benchstat, with the machine and the versions in the head.
#
#   bench/steps.sh                          bench/results/steps-DATE.txt: about three minutes
#   COUNT=10 TIME=1s bench/steps.sh FILE    for a claim
#   benchstat old.txt new.txt               go install golang.org/x/perf/cmd/benchstat@latest
set -euo pipefail
cd "$(dirname "$0")/.."

COUNT=${COUNT:-6}   # the fewest with which benchstat gives an interval of 95 %
TIME=${TIME:-100ms} # of one run; most steps take nanoseconds
BENCH=${BENCH:-.}
file=${1:-bench/results/steps-$(date -u +%F).txt}

head() {
  # Behind a number sign: of lines "key: value" benchstat makes a table each, and runs of two commits would not be compared.
  printf '# date: %s\n' "$(date -u +%F)"
  printf '# commit: %s\n' "$(git describe --tags --always --dirty 2>/dev/null || echo unknown)"
  printf '# toolchain: %s\n' "$(go env GOVERSION)"
  printf '# kernel: %s\n' "$(uname -sr)"
  printf '# system: %s\n' "$(sed -n 's/^PRETTY_NAME="\(.*\)"$/\1/p' /etc/os-release)"
  printf '# cores: %s\n' "$(nproc)"
  printf '# memory: %s GiB\n' "$(awk '/^MemTotal/ {printf "%.0f", $2 / 1048576}' /proc/meminfo)"
  printf '# load-before: %s\n' "$(cut -d' ' -f1-3 /proc/loadavg)"
}

mkdir -p "$(dirname "$file")"
unfinished=$file.part
trap 'rm -f "$unfinished"' EXIT
head >"$unfinished"
go test -run '^$' -bench "$BENCH" -benchmem -count "$COUNT" -benchtime "$TIME" ./resp ./router ./proxy ./bench/variants | tee -a "$unfinished" >&2
mv "$unfinished" "$file"
echo "written: $file" >&2
