#!/bin/sh
# Makes the environment that aligns texts by wav2vec2, from nothing: engine-align.sh PYTHON DIRECTORY.
set -eu
python=$1 venv=$2
echo "[1/3] $venv: an environment of its own"
rm -rf "$venv"
"$python" -m venv "$venv"
pip="$venv/bin/python -m pip install -qq --disable-pip-version-check"
echo "[2/3] torch and transformers: half a gigabyte to fetch where pip finds torch's CPU build, 3 otherwise"
$pip torch==2.13.0
$pip --no-deps -r .ci/requirements-align.txt
echo "[3/3] Malha's worker"
$pip --no-deps --editable ./services
"$venv/bin/python" -c 'import malha.transcribe.engines.wav2vec2_align_worker' > /dev/null 2>&1 \
  || { echo "malha: transformers is installed and does not start: $venv/bin/python -c 'import transformers, torch'" >&2; exit 1; }
