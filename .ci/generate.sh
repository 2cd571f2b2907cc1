#!/bin/sh
# Generates into the tree given: messages and stubs, the SDK's messages, .env.example. All tools are local.
set -eu
out=$1
rm -rf "$out/gen/malha" "$out/gen/buf" "$out/sdk/malha/sdk/_gen"
mkdir -p "$out/gen" "$out/sdk/malha/sdk/_gen"
buf generate --output "$out" 2>&1 | { grep -v '^Writing ' || true; }
python -m grpc_tools.protoc -Iproto/third_party --python_out="$out/gen" --mypy_out=quiet:"$out/gen" buf/validate/validate.proto
rm -rf "$out/sdk/malha/sdk/_gen/google/api" "$out/sdk/malha/sdk/_gen/buf" "$out/sdk/malha/sdk/_gen/malha/api/relay"
mkdir -p "$out/edge/malha/edge"
buf build --as-file-descriptor-set --exclude-imports --path proto/malha --output "$out/edge/malha/edge/contracts.binpb"
python -m malha.cli.env_example > "$out/.env.example"
