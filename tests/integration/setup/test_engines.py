"""``make engines``: what it tells of environments that are whole, that fail, and that time does not suffice for. Real make, a Makefile of the test's own."""

import os
import re
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest
from conftest import REPOSITORY
from integration.setup.conftest import WITHOUT_MAKE, Run

MAKEFILE = """\
.venvs/%/.installed: %.sh
	@sh $<
	@mkdir -p $(@D) && touch $@
"""
DEADLINE = 60.0
COLUMNS = 100


@pytest.fixture
def scripts(place: Path) -> Path:
    """Where an environment's script may lie: ``NAME.sh``."""
    (place / "Makefile").write_text(MAKEFILE)
    return place


def command(*names: str, seconds: int = 100) -> str:
    return f"sh .ci/engines.sh make {seconds} " + " ".join(f"{name}=.venvs/{name}/.installed" for name in names)


def test_each_is_made_once(scripts: Path, sh: Run) -> None:
    for name in ("one", "two"):
        (scripts / f"{name}.sh").write_text("echo much")
    first = sh(command("one", "two"))
    assert first.returncode == 0
    assert re.fullmatch(r"\[1/2\] one \.\.\. ready, made in \d+ s\n\[2/2\] two \.\.\. ready, made in \d+ s\n", first.stdout)
    assert sh(command("one", "two")).stdout == "[1/2] one ... ready\n[2/2] two ... ready\n"
    os.utime(scripts / "two.sh", (time.time() + 5,) * 2)
    assert re.fullmatch(r"\[1/2\] one \.\.\. ready\n\[2/2\] two \.\.\. ready, made in \d+ s\n", sh(command("one", "two")).stdout)
    assert list((scripts / ".venvs").glob("*.log")) == []


def test_it_goes_on_where_one_fails_and_says_why(scripts: Path, sh: Run) -> None:
    (scripts / "one.sh").write_text(
        ". ./.ci/steps.sh; step '[1/1] packages' sh -c 'echo ERROR: No matching distribution found for a==9; exit 1'"
    )
    (scripts / "two.sh").write_text("true")
    done = sh(command("one", "two"))
    assert done.returncode == 1
    one, why, two, last = done.stdout.splitlines()
    assert re.fullmatch(r"\[1/2\] one \.\.\. not made, after \d+ s \(\.venvs/one\.log\):", one)
    assert why.startswith("  no a==9 for this Python in pip's index")
    assert two.startswith("[2/2] two ... ready, made in")
    assert last == "the same command goes on with what was not made"
    assert max(map(len, done.stdout.splitlines())) <= COLUMNS
    assert "ERROR: No matching distribution found for a==9" in (scripts / ".venvs/one.log").read_text()
    (scripts / "one.sh").write_text("true")
    again = sh(command("one", "two"))
    assert again.returncode == 0
    assert re.fullmatch(r"\[1/2\] one \.\.\. ready, made in \d+ s\n\[2/2\] two \.\.\. ready\n", again.stdout)
    assert not (scripts / ".venvs/one.log").exists()


def test_a_kill_in_the_midst_is_no_want_of_time(scripts: Path, sh: Run) -> None:
    (scripts / "one.sh").write_text(". ./.ci/steps.sh; step '[1/1] packages' sh -c 'kill -9 $$'")
    (scripts / "two.sh").write_text("kill -9 $$")
    one, why_one, two, why_two, _ = sh(command("one", "two")).stdout.splitlines()
    assert "not made, after" in one
    assert "killed by signal 9" in why_one
    assert "not made, after" in two
    assert "Killed" in why_two


def test_time_that_is_over(scripts: Path, sh: Run) -> None:
    (scripts / "whole.sh").write_text("true")
    (scripts / "long.sh").write_text(". ./.ci/steps.sh; step '[1/1] packages' sh -c 'echo $$ > pid; exec sleep 600'")
    (scripts / "next.sh").write_text("true")
    assert sh(command("whole")).returncode == 0
    began = time.monotonic()
    done = sh(command("long", "next", "whole", seconds=3))
    assert time.monotonic() - began < DEADLINE
    assert done.returncode == 1
    long, after, whole, last = done.stdout.splitlines()
    assert re.fullmatch(r"\[1/3\] long \.\.\. not made: stopped after \d+ s, when the 3 s for all were over", long)
    assert after == "[2/3] next ... not made: the 3 s for all were over"
    assert whole == "[3/3] whole ... ready"
    assert last == "the same command goes on with what was not made"
    assert not psutil.pid_exists(int((scripts / "pid").read_text()))
    (scripts / "long.sh").write_text("true")
    assert sh(command("long", "next", "whole")).returncode == 0


@pytest.mark.parametrize("told", [signal.SIGINT, signal.SIGTERM])
def test_who_stops_it_stops_all_of_it(scripts: Path, told: signal.Signals) -> None:
    """Control-C reaches the script, and not pip, which timeout has put into a group of its own."""
    (scripts / "one.sh").write_text("echo $$ > pid; exec sleep 600")
    until = time.monotonic() + DEADLINE
    with subprocess.Popen(["sh", "-c", "exec " + command("one")], cwd=scripts, stdout=subprocess.PIPE, text=True) as process:
        pid = scripts / "pid"
        while not (pid.exists() and pid.read_text().endswith("\n")):
            assert time.monotonic() < until
            time.sleep(0.05)
        process.send_signal(told)
        assert process.stdout is not None
        assert process.stdout.read() == "[1/1] one ... stopped; the same command goes on\n"
        assert process.wait(DEADLINE) == 130
    assert not psutil.pid_exists(int(pid.read_text()))


def make(*arguments: str) -> str:
    done = subprocess.run(
        ["make", *arguments], cwd=REPOSITORY, env=WITHOUT_MAKE, capture_output=True, text=True, check=False, timeout=DEADLINE
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_makefile_names_files_that_it_can_make() -> None:
    named = dict(pair.split("=") for pair in make("--eval=tell: ; @echo $(ENGINES)", "tell").split())
    assert list(named) == ["vllm", "resemblyzer", "align", "paddleocr", "pyannote", "coqui"]
    for name, target in named.items():
        assert f"engine-{name}.sh" in make("--dry-run", "--always-make", target)


def test_its_help_fits_a_terminal() -> None:
    lines = make("help").splitlines()
    assert {"demo", "test", "engines"} <= {line.split()[0] for line in lines}
    assert max(map(len, lines)) <= COLUMNS


def test_steps_are_counted_to_the_end_of_what_is_made() -> None:
    for target, counted in ((".venv/.base", [1, 2, 3]), (".venv/.dev", [1, 2, 3, 4, 5])):
        run = make("--dry-run", "--always-make", "PYTHON=python3", target)
        steps = [1] if f"base.sh python3 .venv {len(counted)}" in run else []
        steps += map(int, re.findall(rf"step \"\[(\d)/{len(counted)}\] ", run))
        assert steps == counted, run
