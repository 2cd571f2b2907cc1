import json
import shutil
import subprocess
import wave
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from malha.bench.private_server import Running

Run = Callable[..., subprocess.CompletedProcess[str]]


def test_transcribe_prints_a_line_for_each_segment(malha: Run, speech: Path) -> None:
    done = malha("transcribe", str(speech))
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("[0.")
    assert "s of speech" in done.stdout


def test_transcribe_prints_json_for_each_file(malha: Run, speech: Path) -> None:
    other = shutil.copy(speech, speech.with_name("other.wav"))
    done = malha("transcribe", str(speech), str(other), "--json")
    assert done.returncode == 0, done.stderr
    first, second = (json.loads(line) for line in done.stdout.splitlines())
    assert (first["file"], second["file"]) == (str(speech), str(other))
    assert first["engine"]["name"] == "null"
    assert first["segments"]
    assert [segment["start_seconds"] for segment in first["segments"]] == [segment["start_seconds"] for segment in second["segments"]]


def test_a_recording_that_is_refused_does_not_keep_the_next_from_being_transcribed(malha: Run, speech: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.wav"
    bad.write_bytes(b"no audio at all")
    done = malha("transcribe", str(bad), str(speech), "--json")
    assert done.returncode == 1
    assert done.stderr.startswith(f"malha: {bad}: the file is not audio")
    assert [json.loads(line)["file"] for line in done.stdout.splitlines()] == [str(speech)]


def test_nor_does_one_keep_the_next_from_being_labelled(malha: Run, speech: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.wav"
    bad.write_bytes(b"no audio at all")
    done = malha("diarize", str(bad), str(speech), "--json")
    assert (done.returncode, done.stderr) == (1, f"malha: {bad} is not readable audio\n")
    [told] = map(json.loads, done.stdout.splitlines())
    assert (told["file"], told["speakers"]) == (str(speech), ["S1"])


def test_what_is_wrong_with_a_speaker_is_told_by_options(malha: Run, speech: Path) -> None:
    done = malha("speakers", "enroll", "Ana Maria", str(speech), "--consent", "")
    assert done.returncode == 1
    assert done.stderr == "malha: SPEAKER: may only have these characters: 0-9A-Za-z._:@-; --consent: is required\n"


def test_call_shows_the_transcript_and_its_figures(malha: Run, speech: Path) -> None:
    done = malha("call", str(speech))
    assert done.returncode == 0, done.stderr
    assert "s of speech" in done.stdout
    assert "recognised by null" in done.stdout
    assert "after the acoustic end" in done.stdout


def test_call_prints_its_events_as_json(malha: Run, speech: Path) -> None:
    done = malha("call", str(speech), "--roles", "customer", "--json")
    assert done.returncode == 0, done.stderr
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert [events[0]["event"], events[-1]["event"]] == ["Opened", "Closed"]
    assert "resume_token" not in events[0]
    finals = [event for event in events if event["event"] == "Final"]
    assert finals
    assert {final["segment"]["role"] for final in finals} == {"customer"}


def test_a_call_belongs_to_the_conversation_it_names(malha: Run, speech: Path, server: Running) -> None:
    assert malha("call", str(speech), "--conversation", "call-4711", "--json").returncode == 0
    answer = httpx.get(
        f"{server.url}/api/v1/conversations/call-4711", headers={"Authorization": f"Bearer {server.token}"}, timeout=30, trust_env=False
    )
    assert answer.raise_for_status().json()["entries"]


def test_say_writes_a_wav_file(malha: Run, tmp_path: Path) -> None:
    done = malha("say", "Bom dia.", "--language", "pt-BR", "-o", str(tmp_path / "out.wav"), "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    with wave.open(str(tmp_path / "out.wav")) as made:
        assert made.getnframes() / made.getframerate() == pytest.approx(told["seconds"], abs=0.001)
        assert told["seconds"] > 0.3
    assert told["engine"] == "espeak"


def test_say_writes_what_the_file_is_called(malha: Run, tmp_path: Path) -> None:
    for name, magic in (("out.ogg", b"OggS"), ("out.mp3", b"\xff")):
        done = malha("say", "Bom dia.", "--language", "pt-BR", "-o", str(tmp_path / name), "--sample-rate", "16000", "--json")
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["sample_rate"] == 16_000
        assert (tmp_path / name).read_bytes().startswith(magic)
    for output, options in (("out", ("--format", "flac")), ("out.flac", ())):
        refused = malha("say", "Bom dia.", "-l", "pt", "-o", str(tmp_path / output), *options)
        assert refused.returncode != 0
        assert "mp3" in refused.stderr
        assert not (tmp_path / output).exists()


def test_a_reference_is_spoken_of_by_its_option(malha: Run, speech: Path) -> None:
    done = malha("say", "hello", "-l", "en", "--reference", str(speech), "--consent", "c")
    assert done.returncode == 1
    assert done.stderr.startswith("malha: engine espeak cannot clone a voice: leave --reference out")


def test_an_error_of_the_server_is_one_line(malha: Run, speech: Path) -> None:
    done = malha("say", "hello", "--voice", "nobody")
    assert done.returncode == 1
    assert done.stderr.startswith("malha: ")
    assert len(done.stderr.splitlines()) == 1
    assert "there are: " in done.stderr
