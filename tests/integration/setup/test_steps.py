"""What a step of setting up tells: what it does, how long it took, and where it fails why and what to do."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import REPOSITORY
from integration.setup.conftest import WITHOUT_MAKE, Run

STEP = ". ./.ci/steps.sh; step"
COLUMNS = 100


def test_a_step_is_one_line_and_its_command_is_silent(sh: Run) -> None:
    done = sh(f"{STEP} '[1/2] an environment' sh -c 'echo much; echo more >&2'; {STEP} '[2/2] packages' true")
    assert done.returncode == 0
    assert re.fullmatch(r"\[1/2\] an environment \.\.\. \d+ s\n\[2/2\] packages \.\.\. \d+ s\n", done.stdout)


def test_what_is_done_is_told_before_it_is_done(place: Path) -> None:
    line = f"{STEP} '[1/1] something long' sh -c 'touch begun; exec sleep 600'"
    with subprocess.Popen(["sh", "-c", line], cwd=place, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        assert process.stdout is not None
        told = "[1/1] something long ... "
        assert process.stdout.read(len(told)) == told
        until = time.monotonic() + 60
        while not (place / "begun").exists():  # a signal that meets a shell as it starts a program may be heard by neither
            assert time.monotonic() < until
            time.sleep(0.01)
        assert process.poll() is None
        os.killpg(process.pid, 15)
        assert process.wait(60) == 130
        assert process.stdout.read() == "stopped\n"


def test_a_failure_shows_the_last_lines_and_what_to_do(sh: Run) -> None:
    done = sh(f"{STEP} '[1/1] packages' sh -c 'for line in $(seq 40); do echo line $line; done; exit 7'")
    assert done.returncode == 7
    first, *lines, last = done.stdout.splitlines()
    assert re.fullmatch(r"\[1/1\] packages \.\.\. failed after \d+ s", first)
    assert lines == [f"line {number}" for number in range(29, 41)]
    assert last == "malha: the lines above say why; once that is mended, the same command goes on"


@pytest.mark.parametrize(
    ("printed", "words"),
    {
        "closed index": (
            (
                "WARNING: Retrying (Retry(total=0)) after connection broken by 'NewConnectionError()': /simple/torch/\n"
                "ERROR: No matching distribution found for torch==2.13.0"
            ),
            "does not reach its index",
        ),
        "no such version": (
            "ERROR: No matching distribution found for transformers==99",
            "no transformers==99 for this Python in pip's index",
        ),
        "torch for CPUs": ("ERROR: No matching distribution found for torch==2.13.0+cpu", "https://download.pytorch.org/whl/cpu"),
        "disk": ("ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device", "the disk is full"),
        "python3-venv": ("The virtual environment was not created because ensurepip is not available.", "apt-get install python3-venv"),
        "its own word": ("malha: all is installed and does not start: x", "malha: all is installed and does not start: x"),
    }.values(),
)
def test_what_pip_says_is_explained(place: Path, sh: Run, printed: str, words: str) -> None:
    (place / "printed").write_text(printed + "\n")
    done = sh(f"{STEP} '[1/1] packages' sh -c 'cat printed; exit 1'")
    assert done.returncode == 1
    assert words in done.stdout.splitlines()[-1]
    assert sum(line.startswith("malha: ") for line in done.stdout.splitlines()) == 1


def test_a_kill_is_told_as_one(sh: Run) -> None:
    done = sh(f"{STEP} '[1/1] packages' sh -c 'kill -9 $$'")
    assert done.returncode == 137
    assert "killed by signal 9" in done.stdout.splitlines()[-1]


@pytest.mark.parametrize("script", sorted(path.name for path in (REPOSITORY / ".ci").glob("*.sh")))
def test_what_steps_tell_fits_the_terminal(script: str) -> None:
    text = (REPOSITORY / ".ci" / script).read_text()
    torch = re.search('^TORCH="(.*)"$', (REPOSITORY / ".ci" / "steps.sh").read_text(), re.MULTILINE)
    assert torch is not None
    for told in re.findall(r'^ *step "(.*?)"', text, re.MULTILINE):
        plain = told.replace("$TORCH", torch[1]).replace("$venv", ".venvs/resemblyzer")
        assert len(f"{plain} ... failed after 1000 s") <= COLUMNS, plain


def test_an_environment_that_is_not_whole_has_no_python(place: Path, sh: Run) -> None:
    made = sh(f". ./.ci/steps.sh; begin {sys.executable} it && it/bin/python3 -c 'import sys; assert sys.prefix != sys.base_prefix'")
    assert made.returncode == 0, made.stdout
    assert not os.path.lexists(place / "it/bin/python")
    broken = sh(". ./.ci/steps.sh; whole it no_such_module")
    assert broken.returncode == 1
    assert "malha: all is installed and does not start: it/bin/python3 -c 'import no_such_module'" in broken.stdout
    assert not os.path.lexists(place / "it/bin/python")
    assert sh(". ./.ci/steps.sh; whole it pip").returncode == 0
    assert sh("it/bin/python -m pip --version").returncode == 0


def test_a_base_that_was_left_half_made_is_made_anew(place: Path, sh: Run) -> None:
    command = f"sh .ci/base.sh {sys.executable} env 3"
    assert sh(f"{sys.executable} -m venv --without-pip env").returncode == 0
    first = sh(command)
    assert first.returncode == 0, first.stdout
    assert re.fullmatch(r"\[1/3\] env: a Python environment \.\.\. \d+ s\n", first.stdout)
    assert sh("env/bin/python -m pip --version").returncode == 0
    (place / "env" / "kept").touch()
    assert sh(command).stdout == ""
    assert (place / "env" / "kept").exists()


@pytest.mark.parametrize("python", ["/nowhere/python3", "false"])
def test_a_python_that_will_not_do_is_named(sh: Run, python: str) -> None:
    base = sh(f"sh .ci/base.sh {python} env 3")
    assert (base.returncode, base.stdout) == (
        1,
        f"malha: Python 3.11 or later is needed, and {python} is not that: make PYTHON=/path/to/python3.11\n",
    )
    engine = sh(f"sh .ci/engine-align.sh {python} .venvs/align")
    assert engine.returncode == 1
    assert engine.stdout == (
        f"malha: engine-align needs Python 3.11 or later, and {python} is not that: make engine-align ENGINE_PYTHON=/path/to/python3.11\n"
    )


def test_an_index_that_does_not_answer(place: Path, sh: Run) -> None:
    """The real script and the real pip, which finds nothing: of torch, and nothing that was begun is taken for whole."""
    closed = {"PIP_INDEX_URL": "http://127.0.0.1:1/simple", "PIP_RETRIES": "1", "PIP_CONFIG_FILE": os.devnull, "PIP_NO_CACHE_DIR": "1"}
    kept = {name: value for name, value in WITHOUT_MAKE.items() if not name.startswith("PIP_")}
    done = sh(f"sh .ci/engine-resemblyzer.sh {sys.executable} .venvs/resemblyzer", kept | closed)
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert re.fullmatch(r"\[1/4\] \.venvs/resemblyzer: an environment of its own \.\.\. \d+ s", lines[0])
    assert re.fullmatch(r"\[2/4\] torch, .* \.\.\. failed after \d+ s", lines[1])
    assert "pip does not reach its index" in lines[-1]
    assert not os.path.lexists(place / ".venvs/resemblyzer/bin/python")
