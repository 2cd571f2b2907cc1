#!/bin/sh
# Generates into the tree given: messages and stubs, the SDK's messages, .env.example. All tools are local.
# Everything is made in a folder beside it first; then what differs takes its place, file by file, and what is made no more goes.
set -eu
out=$1
mkdir -p "$out"
draft=$(mktemp -d "$out/.generated.XXXXXX")
trap 'rm -rf "$draft"' EXIT
trap 'exit 130' INT TERM

# put_in_place PATH: a file, or a folder with all that is in it
put_in_place() {
  (cd "$draft" && find "$1" -type f) | while IFS= read -r file; do
    cmp -s "$draft/$file" "$out/$file" && continue
    mkdir -p "$(dirname "$out/$file")"
    cp "$draft/$file" "$out/$file.new"
    mv "$out/$file.new" "$out/$file"
  done
  (cd "$out" && find "$1" -type f ! -path '*/__pycache__/*') | while IFS= read -r file; do
    test -e "$draft/$file" || rm -rf "$out/$file" "$(dirname "$out/$file")/__pycache__"
  done
  test ! -d "$out/$1" || find "$out/$1" -type d -empty -delete
}

mkdir -p "$draft/gen" "$draft/sdk/malha/sdk/_gen" "$draft/edge/malha/edge"
buf generate --output "$draft" 2>&1 | { grep -v '^Writing ' || true; }
python -m grpc_tools.protoc -Iproto/third_party --python_out="$draft/gen" --mypy_out=quiet:"$draft/gen" buf/validate/validate.proto
sdk="$draft/sdk/malha/sdk/_gen"
rm -rf "$sdk/google/api" "$sdk/buf" "$sdk/malha/api/relay"
buf build --as-file-descriptor-set --exclude-imports --path proto/malha --output "$draft/edge/malha/edge/contracts.binpb"
for path in gen/malha gen/buf sdk/malha/sdk/_gen edge/malha/edge/contracts.binpb; do
  put_in_place "$path"
done
python -m malha.cli.env_example > "$draft/.env.example"
put_in_place .env.example
