#!/bin/sh
# Makes the environment of resemblyzer on PyTorch, which tests compare with, from nothing: engine-resemblyzer.sh PYTHON DIRECTORY.
set -eu
python=$1 venv=$2
echo "[1/2] $venv: an environment of its own"
rm -rf "$venv"
"$python" -m venv "$venv"
pip="$venv/bin/python -m pip install -qq --disable-pip-version-check"
echo "[2/2] torch and resemblyzer: half a gigabyte to fetch where pip finds torch's CPU build, 3 otherwise"
$pip torch==2.13.0
$pip --no-deps -r .ci/requirements-resemblyzer.txt
"$venv/bin/python" -c 'import resemblyzer' > /dev/null 2>&1 \
  || { echo "malha: resemblyzer is installed and does not start: $venv/bin/python -c 'import resemblyzer'" >&2; exit 1; }
