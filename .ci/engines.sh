#!/bin/sh
# Makes every engine's environment that installs here, one after the other: engines.sh MAKE SECONDS NAME=TARGET...
# One line each; goes on where one fails, and then ends with 1. All together take no longer than SECONDS: what is not made by then is not made.
set -u
make=$1 deadline=$(($(date +%s) + $2)) status=0 number=0
shift 2
log=$(mktemp)
trap 'rm -f "$log"' EXIT
for engine do
  number=$((number + 1)) began=$(date +%s)
  left=$((deadline - began))
  code=124
  [ "$left" -le 0 ] || { timeout -k 10 "$left" "$make" --no-print-directory "${engine#*=}" > "$log" 2>&1; code=$?; }
  case $code in
    0) why="ready ($(($(date +%s) - began)) s)" ;;
    124 | 137) why="not made: the time for all engines was over" ;;
    *) why=$(grep '^malha: ' "$log" | tail -n 1); why="not made: ${why:-$(grep . "$log" | tail -n 1)}" ;;
  esac
  [ $code = 0 ] || status=1
  echo "[$number/$#] ${engine%%=*}: $why"
done
exit $status
