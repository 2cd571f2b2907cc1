#!/bin/sh
# Makes the environment that pyannote's workers run in, from nothing: engine-pyannote.sh PYTHON DIRECTORY.
set -eu
. ./.ci/steps.sh
python=$1 venv=$2
need_python "$python" engine-pyannote ">= (3, 11)" "3.11 or later"
export PYANNOTE_METRICS_ENABLED=0
step "[1/6] $venv: an environment of its own" begin "$python" "$venv"
step "[2/6] $TORCH" install "$venv" torch==2.13.0
step "[3/6] torchaudio" torchaudio "$venv"
step "[4/6] pyannote.audio and what it needs" install "$venv" --no-deps -r .ci/requirements-pyannote.txt
step "[5/6] Malha's worker" install "$venv" --no-deps --editable ./services
step "[6/6] whether it starts" whole "$venv" malha.diarize.engines.pyannote_pipeline
