import re

import pytest

from malha.models import catalogue
from malha.models.catalogue import ENGINES, LICENCES, MODELS
from malha.runtime.errors import NotFound

PROMISED = {
    *(f"whisper/{variant}" for variant in ("small", "medium", "large-v3", "turbo")),
    *(f"pyannote/{variant}" for variant in ("segmentation-3.0", "wespeaker-voxceleb-resnet34-lm")),
    *(f"pyannote/speaker-diarization-{variant}" for variant in ("3.1", "community-1")),
    *(f"qwen/qwen2.5-14b-instruct{variant}" for variant in ("", "-awq")),
    *(f"{family}/PP-OCRv6_medium_{part}" for family in ("pp-ocrv6", "pp-ocrv6-paddle") for part in ("det", "rec")),
    "xtts/v2",
    "baai/bge-m3",
}


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
def test_every_model_is_pinned_and_whole(model: catalogue.Model) -> None:
    assert re.fullmatch(r"[a-z0-9][a-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*", model.name)
    assert re.fullmatch(r"[0-9a-f]{40}", model.revision)
    assert re.fullmatch(r"[\w.-]+/[\w.-]+", model.repository)
    assert all(re.fullmatch(r"[0-9a-f]{64}", sha256) for sha256 in model.pins.values())
    assert model.size_bytes > 0
    assert model.files.required
    assert model.title
    assert model.languages
    for needed in model.needs:
        assert not MODELS[needed].needs  # `with_needs` looks one step far


def test_production_has_what_was_promised() -> None:
    assert {model.name for model in catalogue.production_models()} == PROMISED
    assert {model.name for model in MODELS.values() if not model.terms.commercial} == {"xtts/v2"}
    assert {model.name for model in MODELS.values() if model.asks} == {
        "xtts/v2",
        "pyannote/segmentation-3.0",
        "pyannote/speaker-diarization-3.1",
        "pyannote/speaker-diarization-community-1",
    }


def test_each_sha256_and_revision_stands_for_one_file() -> None:
    pins = [sha256 for model in MODELS.values() for sha256 in model.pins.values()]
    assert len(pins) == len(set(pins))
    revisions = [model.revision for model in MODELS.values()]
    assert len(revisions) == len(set(revisions))


def test_licences_are_told_in_full() -> None:
    used = {thing.terms.name for thing in (*MODELS.values(), *ENGINES.values())}
    assert used == LICENCES.keys()
    assert all(licence.url.startswith("https://") and licence.title for licence in LICENCES.values())
    assert {name for name, licence in LICENCES.items() if not licence.commercial} == {"CPML-1.0"}
    assert {"pocketsphinx", "espeak-ng", "resemblyzer", "rapidocr"} <= {name for name, engine in ENGINES.items() if engine.base}


def test_a_model_brings_what_it_needs_first() -> None:
    pipeline = catalogue.find("pyannote/speaker-diarization-3.1")
    names = [model.name for model in catalogue.with_needs([pipeline, catalogue.find("pyannote/segmentation-3.0")])]
    assert names == ["pyannote/segmentation-3.0", "pyannote/wespeaker-voxceleb-resnet34-lm", "pyannote/speaker-diarization-3.1"]


@pytest.mark.parametrize(
    ("short", "name"),
    [
        ("bge-m3", "baai/bge-m3"),
        ("v2", "xtts/v2"),
        ("BAAI/bge-m3", "baai/bge-m3"),
        ("Whisper/Tiny", "whisper/tiny"),
        ("turbo", "whisper/turbo"),
    ],
)
def test_a_variant_alone_will_do(short: str, name: str) -> None:
    assert catalogue.find(short).name == name


def test_a_family_is_what_production_needs_of_it() -> None:
    assert [model.name for model in catalogue.select("whisper")] == [f"whisper/{size}" for size in ("small", "medium", "large-v3", "turbo")]
    assert {model.name for model in catalogue.select("PP-OCRv6")} == {name for name in MODELS if name.startswith("pp-ocrv6/")}
    assert [model.name for model in catalogue.select("whisper/tiny")] == ["whisper/tiny"]


@pytest.mark.parametrize(
    ("given", "nearest"),
    [
        ("whisper/smal", "whisper/small"),
        ("large-v4", "whisper/large-v3"),
        ("qwen2.5-14b-awq", "qwen/qwen2.5-14b-instruct-awq"),
        ("BGE-M4", "baai/bge-m3"),
        ("xtts-v2", "xtts/v2"),
    ],
)
def test_an_unknown_name_lists_what_there_is_the_nearest_first(given: str, nearest: str) -> None:
    with pytest.raises(NotFound) as raised:
        catalogue.find(given)
    head, _, listed = raised.value.message.partition(": there are ")
    assert head == f"no model {given!r}"
    assert listed.split(", ")[0] == nearest
    assert set(listed.split(", ")) == MODELS.keys()


def test_what_makes_a_model_whole() -> None:
    assert catalogue.files_of("whisper/ours") == MODELS["whisper/small"].files
    assert catalogue.files_of("pp-ocrv6-paddle/ours") != catalogue.files_of("pp-ocrv6/ours")
    assert catalogue.files_of("unheard-of/model") is None
