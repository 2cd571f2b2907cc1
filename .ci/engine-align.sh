#!/bin/sh
# Makes the environment that aligns texts by wav2vec2, from nothing: engine-align.sh PYTHON DIRECTORY.
set -eu
. ./.ci/steps.sh
python=$1 venv=$2
need_python "$python" engine-align ">= (3, 11)" "3.11 or later"
step "[1/5] $venv: an environment of its own" begin "$python" "$venv"
step "[2/5] $TORCH" install "$venv" torch==2.13.0
step "[3/5] transformers and what it needs" install "$venv" --no-deps -r .ci/requirements-align.txt
step "[4/5] Malha's worker" install "$venv" --no-deps --editable ./services
step "[5/5] whether it starts" whole "$venv" malha.transcribe.engines.wav2vec2_align_worker
