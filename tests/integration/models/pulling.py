"""What is pulled in these tests, and how."""

import hashlib
import random
from dataclasses import replace
from pathlib import Path

from fakes.hub import COMMIT, FakeHub
from malha.models import catalogue
from malha.models.hub import HubOptions
from malha.models.store import ModelStore

WEIGHTS = random.Random(1).randbytes(700_000)
FILES = {
    "model.bin": WEIGHTS,
    "config.json": b"{}",
    "tokenizer.json": b"[" + b" " * 5_000 + b"]",
    "vocabulary.txt": b"a\nb\n",
    "README.md": b"# not wanted",
}
MODEL = replace(
    catalogue.find("whisper/tiny"),
    repository="someone/whisper-tiny",
    revision=COMMIT,
    pins={"model.bin": hashlib.sha256(WEIGHTS).hexdigest()},
)


def options(hub: FakeHub, **changes: object) -> HubOptions:
    return HubOptions(endpoint=hub.endpoint, pause_seconds=0.01, read_seconds=5, **changes)


def part_of(store: ModelStore) -> Path:
    return store.path(MODEL.name) / f"model.bin.{hashlib.sha256(WEIGHTS).hexdigest()[:12]}.part"
