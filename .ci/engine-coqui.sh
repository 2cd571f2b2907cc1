#!/bin/sh
# Makes the environment that engine coqui runs in, from nothing: engine-coqui.sh PYTHON DIRECTORY.
set -eu
. ./.ci/steps.sh
python=$1 venv=$2
need_python "$python" engine-coqui ">= (3, 11)" "3.11 or later"
step "[1/6] $venv: an environment of its own" begin "$python" "$venv"
step "[2/6] $TORCH" install "$venv" torch==2.13.0
step "[3/6] torchaudio and torchcodec" torchaudio "$venv" torchcodec==0.13.0
step "[4/6] coqui-tts and what it needs" install "$venv" --no-deps -r .ci/requirements-coqui.txt
step "[5/6] Malha's own: malha serve synthesize runs there" install "$venv" --no-deps --editable ./gen --editable ./services
step "[6/6] whether it starts" whole "$venv" malha.synthesize.engines.coqui_models
