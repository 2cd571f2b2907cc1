#!/bin/sh
# Fails if what is committed differs from what the contracts and settings generate.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
sh .ci/generate.sh "$folder"
status=0
for path in gen/malha gen/buf sdk/malha/sdk/_gen edge/malha/edge/contracts.binpb .env.example; do
  diff -r -x __pycache__ "$folder/$path" "$path" || status=1
done
[ $status = 0 ] || echo "generated files differ: run make generate and commit"
exit $status
