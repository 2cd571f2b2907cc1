#!/bin/sh
# Makes the environment of resemblyzer on PyTorch, which tests compare with, from nothing: engine-resemblyzer.sh PYTHON DIRECTORY.
set -eu
. ./.ci/steps.sh
python=$1 venv=$2
need_python "$python" engine-resemblyzer ">= (3, 11)" "3.11 or later"
step "[1/4] $venv: an environment of its own" begin "$python" "$venv"
step "[2/4] $TORCH" install "$venv" torch==2.13.0
step "[3/4] resemblyzer and what it needs" install "$venv" --no-deps -r .ci/requirements-resemblyzer.txt
step "[4/4] whether it starts" whole "$venv" resemblyzer
