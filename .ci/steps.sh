# Sourced by the Makefile and by the scripts beside it: what setting up says while it works, and where it fails.

# step WHAT COMMAND...: says what is done and, once it is, how long that took. What the command prints is kept back; where it fails, its last lines are
# shown, and one that says what to do. Ends with the command's code.
step() {
  step_log=$(mktemp) || return
  trap 'rm -f "$step_log"; echo "stopped"; exit 130' HUP INT TERM
  printf '%s ... ' "$1"
  shift
  step_began=$(date +%s) step_code=0
  "$@" > "$step_log" 2>&1 < /dev/null || step_code=$?
  step_took=$(($(date +%s) - step_began))
  if [ "$step_code" = 0 ]; then
    echo "$step_took s"
  else
    echo "failed after $step_took s"
    tail -n 12 "$step_log" | cut -c 1-200 >&2
    grep -q '^malha: ' "$step_log" || echo "malha: $(advice "$step_code" "$step_log")" >&2
  fi
  rm -f "$step_log"
  trap - HUP INT TERM
  return "$step_code"
}

# advice CODE LOG: what to do about a command, pip as a rule, that ended with CODE and printed LOG.
advice() {
  missing=$(sed -n 's/.*No matching distribution found for \([^ ;]*\).*/\1/p' "$2" | tail -n 1)
  if [ "$1" -gt 128 ] && [ "$1" -lt 160 ]; then
    echo "killed by signal $(($1 - 128)), for want of memory if by nobody; the same command goes on"
  elif grep -q 'No space left on device' "$2"; then
    echo "the disk is full: make room; then the same command goes on"
  elif grep -Eq 'ensurepip is not available|No module named .?ensurepip' "$2"; then
    echo "Python cannot make environments here: apt-get install python3-venv"
  elif grep -Eq 'connection broken by|ConnectionError|ConnectTimeout|Read timed out|name resolution' "$2"; then
    echo "pip does not reach its index: see to the network or PIP_INDEX_URL; then the same goes on"
  elif [ "${missing%+cpu}" != "$missing" ]; then
    echo "no $missing in pip's index; PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu has it"
  elif [ -n "$missing" ]; then
    echo "no $missing for this Python in pip's index (PIP_EXTRA_INDEX_URL adds another)"
  else
    echo "the lines above say why; once that is mended, the same command goes on"
  fi
}

# need_python PYTHON TARGET TEST WHICH: ends the script where PYTHON is not WHICH, which TEST tells by sys.version_info.
need_python() {
  "$1" -c "import sys; sys.exit(not sys.version_info $3)" 2> /dev/null \
    || { echo "malha: $2 needs Python $4, and $1 is not that: make $2 ENGINE_PYTHON=/path/to/python3.11" >&2; exit 1; }
}

# begin PYTHON VENV: an empty environment. Only `whole` gives it bin/python, which is how one that was not made to its end is told from one that was.
begin() {
  rm -rf "$2" && "$1" -m venv --without-pip "$2" && ln -sf "$(readlink -f "$2/bin/python")" "$2/bin/python3" && rm "$2/bin/python" \
    && "$2/bin/python3" -m ensurepip --default-pip
}

# install VENV ARGUMENTS...: pip. What is imported is compiled when it first is: to compile all of torch and its like takes half of an installation's CPU.
install() {
  install_into=$1
  shift
  "$install_into/bin/python3" -m pip install --quiet --no-compile --no-input --disable-pip-version-check "$@"
}

# whole VENV MODULES: the environment imports what it is for, and is whole.
whole() {
  "$1/bin/python3" -c "import $2" || { echo "malha: all is installed and does not start: $1/bin/python3 -c 'import $2'"; return 1; }
  ln -s python3 "$1/bin/python"
}

TORCH="torch, 0.2 GB to fetch where pip finds its CPU build, 3 GB otherwise"

# torchaudio VENV MORE...: PyPI's is a CUDA build. Beside a torch for CPUs its library cannot be loaded, and without that library all that is needed here works.
torchaudio() {
  torchaudio_in=$1
  shift
  install "$torchaudio_in" --no-deps torchaudio==2.11.0 "$@" || return
  if "$torchaudio_in/bin/python3" -c 'import sys, torch; sys.exit(torch.version.cuda is not None)'; then
    rm -f "$torchaudio_in"/lib/python3.*/site-packages/torchaudio/lib/*.so
  fi
}
