#!/bin/sh
# Makes every engine's environment that is not made yet, one after the other: engines.sh MAKE SECONDS NAME=TARGET... where TARGET is a file.
# A line for each, and where one fails another that says why; goes on, and then ends with 1. What a failed one printed is kept in .venvs/NAME.log.
# No more than SECONDS for all: what is whole by then stays, and the next run goes on.
set -u
make=$1 seconds=$2 status=0 number=0 running=
deadline=$(($(date +%s) + seconds))
shift 2

stop() {
  [ -z "$running" ] || { kill "$running"; wait "$running"; } 2> /dev/null
  echo "stopped; the same command goes on"
  exit 130
}
trap stop HUP INT TERM

# finish TARGET LOG SECONDS: have it made, in no more than so long. In the background, as a shell that waits for a program in the foreground hears no signal.
finish() {
  timeout -k 10 "$3" "$make" --no-print-directory "$1" > "$2" 2>&1 &
  running=$!
  wait "$running"
  set -- "$?"
  running=
  return "$1"
}

mkdir -p .venvs
for engine do
  name=${engine%%=*} target=${engine#*=} number=$((number + 1)) began=$(date +%s)
  log=.venvs/$name.log
  printf '%s ... ' "[$number/$#] $name"
  if "$make" --question --no-print-directory "$target" > /dev/null 2>&1; then
    echo "ready"
  elif [ "$began" -ge "$deadline" ]; then
    status=1
    echo "not made: the $seconds s for all were over"
  elif finish "$target" "$log" $((deadline - began)); then
    rm -f "$log"
    echo "ready, made in $(($(date +%s) - began)) s"
  else
    code=$? status=1 now=$(date +%s)
    took=$((now - began))
    if [ "$now" -ge "$deadline" ] && { [ "$code" = 124 ] || [ "$code" = 137 ]; }; then
      echo "not made: stopped after $took s, when the $seconds s for all were over"
    else
      why=$(sed -n 's/^malha: //p' "$log" | tail -n 1)
      echo "not made, after $took s ($log):"
      echo "  ${why:-$(tail -n 1 "$log")}"
    fi
  fi
done
[ $status = 0 ] || echo "the same command goes on with what was not made"
exit $status
