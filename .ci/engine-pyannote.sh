#!/bin/sh
# Makes the environment that pyannote's workers run in, from nothing: engine-pyannote.sh PYTHON DIRECTORY. Fails, rather than leave half of it unsaid.
set -eu
python=$1 venv=$2
pip() { "$venv/bin/python" -m pip install -qq --disable-pip-version-check "$@"; }
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2> /dev/null \
  || { echo "malha: engine pyannote needs Python 3.11 or later: make engine-pyannote ENGINE_PYTHON=/path/to/python3.11" >&2; exit 1; }
echo "[1/3] $venv: an environment of its own"
rm -rf "$venv"
"$python" -m venv "$venv"
echo "[2/3] torch and pyannote.audio: half a gigabyte to fetch where pip finds torch's CPU build, 3 otherwise"
pip torch==2.13.0
pip --no-deps torchaudio==2.11.0
# PyPI's torchaudio is a CUDA build: on a CPU its library cannot be loaded, and without it all that is needed here works
"$venv/bin/python" -c 'import torch, sys; sys.exit(torch.version.cuda is not None)' 2> /dev/null && rm -f "$venv"/lib/python3.*/site-packages/torchaudio/lib/*.so
pip --no-deps -r .ci/requirements-pyannote.txt
echo "[3/3] Malha's worker"
pip --no-deps --editable ./services
PYANNOTE_METRICS_ENABLED=0 "$venv/bin/python" -c 'import malha.diarize.engines.pyannote_pipeline' > /dev/null 2>&1 \
  || { echo "malha: pyannote.audio is installed and does not load: $venv/bin/python -c 'import malha.diarize.engines.pyannote_pipeline'" >&2; exit 1; }
