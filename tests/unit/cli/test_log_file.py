import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from malha.cli import log_file
from malha.cli.log_file import standard_error_to
from malha.runtime.errors import FailedPrecondition


def test_standard_error_of_this_process_and_its_children_goes_to_the_file(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with standard_error_to(tmp_path / "logs" / "up.log") as log:
        os.write(2, b'{"event":"one"}\n')
        subprocess.run([sys.executable, "-c", "import os; os.write(2, b'malha: port 1 is taken\\n')"], check=True)
    os.write(2, b"again\n")
    assert log.path.read_text() == '{"event":"one"}\nmalha: port 1 is taken\n'
    assert log.failure == "port 1 is taken"
    assert capfd.readouterr().err == "again\n"


def test_the_newest_failure_is_told_even_if_it_came_in_pieces(tmp_path: Path) -> None:
    with standard_error_to(tmp_path / "up.log") as log:
        os.write(2, b"malha: first\nmal")
        os.write(2, b"ha: second\n{}\n")
    assert log.failure == "second"


def test_the_file_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_file, "FILE_BYTES", 1000)
    with standard_error_to(tmp_path / "up.log") as log:
        for number in range(300):
            os.write(2, b"%029d\n" % number)
    assert log.path.stat().st_size <= 1000 + log_file.READ_BYTES
    written = (tmp_path / "up.log.1").read_text().splitlines() + log.path.read_text().splitlines()
    assert written[-1] == f"{299:029}"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["up.log", "up.log.1"]


@pytest.mark.parametrize("gone", ["file", "folder", "for ever"])
def test_logs_that_somebody_took_away_keep_nobody_from_writing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gone: str) -> None:
    monkeypatch.setattr(log_file, "FILE_BYTES", 1000)
    folder = tmp_path / "logs"
    with standard_error_to(folder / "up.log") as log:
        os.write(2, b"before\n")
        while not log.path.stat().st_size:
            time.sleep(0.01)
        log.path.unlink()
        if gone != "file":
            folder.rmdir()
        if gone == "for ever":
            folder.write_text("a file where the folder was")
        writer = subprocess.Popen([sys.executable, "-c", "import os\nfor _ in range(5000): os.write(2, b'%029d\\n' % 1)"])
        try:
            assert writer.wait(30) == 0, "nobody reads what is logged"
        finally:
            writer.kill()
            writer.wait()
    if gone != "for ever":
        assert log.path.read_text().endswith(f"{1:029}\n")


def test_a_file_that_cannot_be_written_is_an_error_and_standard_error_stays(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "logs").write_text("a file where a folder should be")
    with pytest.raises(FailedPrecondition, match="MALHA_DATA_DIR"), standard_error_to(tmp_path / "logs" / "up.log"):
        pass
    os.write(2, b"still here\n")
    assert capfd.readouterr().err == "still here\n"
