#!/bin/sh
# Makes the environment Malha runs in, empty still, or keeps one that is there and works: base.sh PYTHON DIRECTORY STEPS.
set -eu
. ./.ci/steps.sh
python=$1 venv=$2

headers() {
  "$venv/bin/python" -c 'import os, sys, sysconfig; sys.exit(sys.version_info[:2] == (3, 12) and not os.path.exists(sysconfig.get_path("include") + "/Python.h"))'
}

"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2> /dev/null \
  || { echo "malha: Python 3.11 or later is needed, and $python is not that: make PYTHON=/path/to/python3.11" >&2; exit 1; }
if ! "$venv/bin/python" -m pip --version > /dev/null 2>&1; then
  step "[1/$3] $venv: a Python environment" "$python" -m venv --clear "$venv"
fi
headers \
  || { echo "malha: pocketsphinx has no wheel for Python 3.12 and its headers are missing: apt-get install python3-dev gcc, or use Python 3.11 or 3.13" >&2; exit 1; }
