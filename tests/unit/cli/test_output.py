import json
import os
import subprocess
import sys

import pytest

from malha.cli.output import counted, print_table


def test_a_table_is_whole_however_narrow_the_terminal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    identifier, reason = "01a1fe03-91fa-7576-80b9-8c1b0853bd9a", "LANGUAGE_NEEDS_WHISPER"
    print_table(("id", "kind", "reason"), [(identifier, "transcribe", reason), ("7", "客服", "-")])
    heading, first, second = capsys.readouterr().out.splitlines()
    assert first.split() == [identifier, "transcribe", reason]
    assert heading.index("reason") == first.index(reason)
    assert second == "7" + " " * 37 + "客服" + " " * 8 + "-"  # a character of East Asia takes two columns


def test_a_cell_is_no_command_to_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("name",), [("a\x1b[2J\nb",)])
    assert capsys.readouterr().out == "name\na [2J b\n"


@pytest.mark.parametrize(("count", "text"), [(0, "0 days"), (1, "1 day"), (2, "2 days")])
def test_counts_agree_with_their_noun(count: int, text: str) -> None:
    assert counted(count, "day") == text


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1"])
def test_what_the_encoding_lacks_is_printed_all_the_same(encoding: str) -> None:
    """A result is not lost by a file's name, which Python has with a half of a surrogate pair where it is not UTF-8."""
    data = {"file": os.fsdecode(b"caf\xe9.png"), "text": "caf\u00e9 \u2022 \U0001f600 \u0645"}
    program = f"from malha.cli.output import *\nprint_anything()\nprint_json({data!a})\nprint_json_line({data!a})\nprint({data!a}['file'])"
    environment = os.environ | {"PYTHONIOENCODING": encoding}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    *documents, name = done.stdout.splitlines()
    assert [json.loads(document) for document in documents] == [data, data]
    assert name == b"caf\\udce9.png"
