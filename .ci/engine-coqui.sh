#!/bin/sh
# Makes the environment that engine coqui runs in, from nothing: engine-coqui.sh PYTHON DIRECTORY. Fails, rather than leave half of it unsaid.
set -eu
python=$1 venv=$2
pip() { "$venv/bin/python" -m pip install -qq --disable-pip-version-check "$@"; }
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2> /dev/null \
  || { echo "malha: engine coqui needs Python 3.11 or later: make engine-coqui ENGINE_PYTHON=/path/to/python3.11" >&2; exit 1; }
echo "[1/3] $venv: an environment of its own"
rm -rf "$venv"
"$python" -m venv "$venv"
echo "[2/3] torch and coqui-tts: half a gigabyte to fetch where pip finds torch's CPU build, 3 otherwise"
pip torch==2.13.0
pip --no-deps torchaudio==2.11.0 torchcodec==0.13.0
# PyPI's torchaudio is a CUDA build: on a CPU its library cannot be loaded, and without it all that is needed here works
"$venv/bin/python" -c 'import torch, sys; sys.exit(torch.version.cuda is not None)' 2> /dev/null && rm -f "$venv"/lib/python3.*/site-packages/torchaudio/lib/*.so
pip --no-deps -r .ci/requirements-coqui.txt
echo "[3/3] Malha's own: malha serve synthesize runs there"
pip --no-deps -e ./gen -e ./services
"$venv/bin/python" -c 'import malha.synthesize.engines.coqui_models' > /dev/null 2>&1 \
  || { echo "malha: coqui-tts is installed and does not load: $venv/bin/python -c 'import malha.synthesize.engines.coqui_models'" >&2; exit 1; }
