#!/bin/sh
# Makes the environment PaddleOCR's workers run in, from nothing: engine-paddleocr.sh PYTHON DIRECTORY. ONNX Runtime runs its models; paddlepaddle
# is not installed (pip install paddlepaddle-gpu there for MALHA_PADDLEOCR_BACKEND=paddle).
set -eu
python=$1 venv=$2
echo "[1/3] $venv: an environment of its own"
rm -rf "$venv"
"$python" -m venv "$venv"
pip="$venv/bin/python -m pip install -qq --disable-pip-version-check"
echo "[2/3] PaddleOCR, ONNX Runtime, and rapidocr's wheel for the models in it"
$pip --no-deps -r .ci/requirements-paddleocr.txt
echo "[3/3] Malha's worker"
$pip --no-deps --editable ./services
"$venv/bin/python" -c 'import malha.ocr.engines.paddleocr_worker, paddleocr' > /dev/null 2>&1 \
  || { echo "malha: PaddleOCR is installed and does not start: $venv/bin/python -c 'import paddleocr'" >&2; exit 1; }
