#!/bin/sh
# Makes the environment PaddleOCR's workers run in, from nothing: engine-paddleocr.sh PYTHON DIRECTORY. ONNX Runtime runs its models; paddlepaddle
# is not installed (pip install paddlepaddle-gpu there for MALHA_PADDLEOCR_BACKEND=paddle).
set -eu
. ./.ci/steps.sh
python=$1 venv=$2
need_python "$python" engine-paddleocr ">= (3, 11)" "3.11 or later"
step "[1/4] $venv: an environment of its own" begin "$python" "$venv"
step "[2/4] PaddleOCR, ONNX Runtime, and rapidocr's wheel for the models in it" install "$venv" --no-deps -r .ci/requirements-paddleocr.txt
step "[3/4] Malha's worker" install "$venv" --no-deps --editable ./services
step "[4/4] whether it starts" whole "$venv" "malha.ocr.engines.paddleocr_worker, paddleocr"
