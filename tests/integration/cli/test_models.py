"""``malha models`` and ``malha licences`` as programs, against a hub on a local port."""

import asyncio
import json
import os
import random
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio
from integration.cli.program import run_malha

from fakes.hub import FakeHub
from malha.models.catalogue import MODELS

GATE = "the-account's-token"
WEIGHTS = random.Random(2).randbytes(900_000)
SMALL = ("config.json", "tokenizer.json", "vocabulary.txt")
WHISPER = {name: name.encode() for name in SMALL} | {"model.bin": WEIGHTS}
XTTS = {name: name.encode() for name in ("config.json", "model.pth", "vocab.json", "speakers_xtts.pth", "LICENSE.txt")}
PYANNOTE = {"config.yaml": b"a: b\n", "pytorch_model.bin": WEIGHTS[:5_000]}
REPOSITORIES = {
    "coqui/XTTS-v2": XTTS,
    "pyannote/segmentation-3.0": PYANNOTE,
    "pyannote/wespeaker-voxceleb-resnet34-LM": PYANNOTE,
    "pyannote/speaker-diarization-3.1": {"config.yaml": b"pipeline: x\n"},
}
GATES = {"pyannote/segmentation-3.0": GATE, "pyannote/speaker-diarization-3.1": GATE}
# The catalogue's models as they are, but for what no other hub can have: the pinned weights.
PROGRAM = """
from dataclasses import replace
from malha.models import catalogue
catalogue.MODELS = {name: replace(model, revision="main", pins={}) for name, model in catalogue.MODELS.items()}
from malha.cli.main import main
main()
"""


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str


@dataclass
class Machine:
    """Where the program runs."""

    directory: Path
    hub: FakeHub

    @property
    def models(self) -> Path:
        return self.directory / "models"

    async def start(self, *arguments: str, stdin: int = DEVNULL, **environment: str) -> Process:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("MALHA_", "HF_"))}
        given = {"MALHA_MODELS_DIR": str(self.models), "HF_ENDPOINT": self.hub.endpoint, "HF_HOME": str(self.directory)} | environment
        command = [sys.executable, "-c", PROGRAM, "models", *arguments]
        return await asyncio.create_subprocess_exec(*command, env=kept | given, cwd=self.directory, stdin=stdin, stdout=PIPE, stderr=PIPE)

    async def run(self, *arguments: str, stdin: int = DEVNULL, **environment: str) -> Done:
        process = await self.start(*arguments, stdin=stdin, **environment)
        out, err = await process.communicate()
        return Done(process.returncode or 0, out.decode(), err.decode())


@pytest_asyncio.fixture
async def machine(tmp_path: Path) -> AsyncIterator[Machine]:
    async with FakeHub("Systran/faster-whisper-small", WHISPER, gates=GATES, others=REPOSITORIES) as hub:
        yield Machine(tmp_path, hub)


async def test_pull_list_path_verify(machine: Machine) -> None:
    assert "malha models pull" in (await machine.run("verify")).err
    pulled = await machine.run("pull", "small")
    assert (pulled.code, pulled.out) == (0, "whisper/small: present\n"), pulled.err
    assert pulled.err.splitlines()[0] == "[1/1] whisper/small: 486 MB, MIT, Systran/faster-whisper-small"
    assert (machine.models / "whisper" / "small" / "model.bin").read_bytes() == WEIGHTS
    assert (await machine.run("path", "whisper/small")).out.strip() == str(machine.models / "whisper" / "small")
    assert (await machine.run("verify")).out == "whisper/small: sound\n"
    listed = json.loads((await machine.run("list", "--json")).out)["models"]
    assert [row["name"] for row in listed] == list(MODELS)
    assert {row["name"]: row["path"] for row in listed if row["path"]} == {"whisper/small": str(machine.models / "whisper" / "small")}
    table = (await machine.run("list")).out
    assert [line.split()[-1] for line in table.splitlines() if line.startswith(("whisper/small", "xtts/"))] == ["present", "missing"]
    (machine.models / "whisper" / "small" / "config.json").write_bytes(b"tampered...")
    damaged = await machine.run("verify", "whisper/small", "--json")
    assert damaged.code == 1
    (found,) = json.loads(damaged.out)["models"]
    assert (found["sound"], len(found["problems"])) == (False, 1)
    assert "malha models pull whisper/small" in damaged.err
    again = await machine.run("pull", "whisper/small", "--json")
    assert json.loads(again.out)["models"] == [
        {"name": "whisper/small", "state": "present", "path": str(machine.models / "whisper" / "small"), "problem": None}
    ]
    assert (await machine.run("verify", "small")).out == "small: sound\n"


async def test_what_is_not_here_names_the_command(machine: Machine) -> None:
    for arguments in (("path", "bge-m3"), ("verify", "baai/bge-m3")):
        done = await machine.run(*arguments)
        assert done.code == 1
        assert "malha models pull baai/bge-m3" in done.err
    unknown = await machine.run("pull", "whisper/smal")
    assert (unknown.code, unknown.out) == (1, "")
    assert "there are whisper/small, " in unknown.err
    nowhere = await machine.run("path", "whisper/smal")
    assert (nowhere.code, nowhere.out) == (1, "")
    assert "there are whisper/small, " in nowhere.err
    misspelt = await machine.run("pull", "whisper/small", "--accept-licence", "xtts/v1")
    assert "there are xtts/v2, " in misspelt.err
    assert not machine.hub.requests


async def test_non_commercial_weights_are_asked_about(machine: Machine) -> None:
    refused = await machine.run("pull", "xtts/v2")
    assert (refused.code, refused.out) == (78, "xtts/v2: missing\n")
    assert "commercial  NOT allowed" in refused.err
    assert refused.err.splitlines()[-1] == "malha: the licence of xtts/v2 was not agreed to: --accept-licence xtts/v2"
    assert not machine.hub.requests
    agreed = await machine.run("pull", "xtts", "--accept-licence", "xtts")
    assert (agreed.code, agreed.out) == (0, "xtts/v2: present\n"), agreed.err
    assert "CPML-1.0" in agreed.err
    assert (machine.models / "xtts" / "v2" / "LICENSE.txt").is_file()  # it has to come along
    once = await machine.run("pull", "xtts/v2")
    assert once.out == "xtts/v2: present\n"
    assert "commercial" not in once.err


@pytest.mark.parametrize(("answer", "code", "said"), [("y\n", 0, "present"), ("n\n", 78, "missing")])
async def test_a_person_at_a_terminal_is_asked(machine: Machine, answer: str, code: int, said: str) -> None:
    here, there = os.openpty()
    try:
        os.write(here, answer.encode())
        done = await machine.run("pull", "xtts/v2", stdin=there)
    finally:
        os.close(here)
        os.close(there)
    assert (done.code, done.out) == (code, f"xtts/v2: {said}\n"), done.err
    assert "Do you agree?" in done.err


async def test_gated_models_come_with_what_they_need_and_say_what_is_missing(machine: Machine) -> None:
    names = ("segmentation-3.0", "wespeaker-voxceleb-resnet34-lm", "speaker-diarization-3.1")
    accepted = [f"--accept-licence={name}" for name in names[::2]]
    keyless = await machine.run("pull", names[2], *accepted)
    assert keyless.code == 1
    assert keyless.out.split("\n")[:3] == [
        f"pyannote/{name}: {state}" for name, state in zip(names, ("missing", "present", "missing"), strict=True)
    ]
    assert [line for line in keyless.err.splitlines() if line.startswith("[")][1].startswith("[2/3] pyannote/wespeaker")
    assert (
        keyless.err.count(f"accept its conditions at {machine.hub.endpoint}/pyannote/segmentation-3.0") == 2
    )  # with the licence, and as error
    wrong = await machine.run("pull", names[2], *accepted, HF_TOKEN="another's")
    assert "the token in HF_TOKEN may not read it" in wrong.err
    assert "another's" not in wrong.err
    (machine.directory / "key").write_text(GATE)
    right = await machine.run("pull", names[2], *accepted, HF_TOKEN_PATH=str(machine.directory / "key"))
    assert right.code == 0, right.err
    assert right.out.count(": present") == 3


async def test_production_is_everything_and_one_failure_keeps_nothing_back(machine: Machine) -> None:
    """What `make bootstrap` does; this hub has five of the models."""
    done = await machine.run("pull", "--accept-licence", "xtts/v2", "--json", HF_TOKEN=GATE)
    assert done.code == 1
    told = {row["name"]: row for row in json.loads(done.out)["models"]}
    assert told.keys() == {model.name for model in MODELS.values() if model.production}
    present = {name for name, row in told.items() if row["state"] == "present"}
    assert present == {"whisper/small", "xtts/v2", "pyannote/wespeaker-voxceleb-resnet34-lm"}
    assert "not agreed to" in told["pyannote/segmentation-3.0"]["problem"]
    assert "answers 404 for BAAI/bge-m3" in told["baai/bge-m3"]["problem"]
    assert f"[{len(told)}/{len(told)}] " in done.err


async def test_without_a_hub_nothing_is_tried_twice(machine: Machine) -> None:
    done = await machine.run("pull", HF_ENDPOINT="http://127.0.0.1:1")
    assert done.code == 1
    assert done.err.count("no model hub in reach") == 1
    assert done.out.count(": missing") == len([model for model in MODELS.values() if model.production])


async def test_an_interrupted_pull_goes_on_where_it_was(machine: Machine) -> None:
    machine.hub.faults.stall_after = [300_000]
    process = await machine.start("pull", "whisper/small")
    place = machine.models / "whisper" / "small"
    async with asyncio.timeout(120):
        while not any(entry.stat().st_size for entry in place.glob("model.bin.*.part")):
            await asyncio.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, err = await process.communicate()
    assert process.returncode == 130
    assert err.decode().splitlines()[-1] == "malha: interrupted; the same command goes on from here"
    (left,) = place.glob("model.bin.*.part")
    size = left.stat().st_size
    assert 0 < size <= 300_000
    machine.hub.requests.clear()
    assert (await machine.run("pull", "whisper/small")).out == "whisper/small: present\n"
    assert [request.headers.get("range") for request in machine.hub.asked("/storage/model.bin")] == [f"bytes={size}-"]


async def test_two_pulls_of_one_model_do_not_meet(machine: Machine) -> None:
    machine.hub.faults.held = asyncio.Event()
    first = await machine.start("pull", "whisper/small")
    async with asyncio.timeout(120):
        while not list((machine.models / "whisper" / "small").glob("*.part")):
            await asyncio.sleep(0.05)
    second = await machine.run("pull", "whisper/small")
    assert (second.code, second.out) == (1, "whisper/small: missing\n")
    assert "another process is pulling" in second.err
    machine.hub.faults.held.set()
    out, _ = await first.communicate()
    assert out.decode() == "whisper/small: present\n"


async def test_a_place_that_cannot_be_written_names_the_setting(machine: Machine) -> None:
    (machine.directory / "file").touch()
    done = await machine.run("pull", "whisper/small", MALHA_MODELS_DIR=str(machine.directory / "file"))
    assert (done.code, done.out) == (78, "whisper/small: missing\n")
    assert "set MALHA_MODELS_DIR" in done.err.splitlines()[-1]


def _by_name(rows: list[Mapping[str, object]]) -> dict[object, Mapping[str, object]]:
    return {row["name"]: row for row in rows}


def test_licences_of_all_models_and_engines(tmp_path: Path) -> None:
    told = json.loads(run_malha(tmp_path, "licences", "--json").stdout)
    models, engines = _by_name(told["models"]), _by_name(told["engines"])
    assert list(models) == list(MODELS)
    assert (models["xtts/v2"]["commercial"], models["whisper/small"]["commercial"]) == (False, True)
    assert models["pyannote/speaker-diarization-3.1"]["gated"]
    assert models["baai/bge-m3"]["source"] == "https://huggingface.co/BAAI/bge-m3"
    assert (engines["espeak-ng"]["licence"], engines["espeak-ng"]["base"]) == ("GPL-3.0-or-later", True)
    table = run_malha(tmp_path, "licences").stdout.splitlines()
    assert len(table) == 1 + len(models) + len(engines)
    (xtts,) = [line for line in table if "xtts/v2" in line]
    assert xtts.split()[:4] == ["model", "xtts/v2", "CPML-1.0", "NO"]
