"""placement.toml: what it may say, and what is wrong with it."""

from pathlib import Path

import pytest

import malha.transcribe
from malha.runtime.errors import FailedPrecondition
from malha.runtime.placement import Placement, read_placement

EXAMPLE = Path(malha.transcribe.__file__).with_name("placement.example.toml")
WHISPER = '[[transcribe]]\nmodel = "whisper/medium"\n'


def read(tmp_path: Path, text: str) -> Placement:
    file = tmp_path / "placement.toml"
    file.write_text(text)
    return read_placement(file)


def test_the_example_is_the_layout_of_four_gpus() -> None:
    placed = read_placement(EXAMPLE)
    (whisper,) = placed.transcribe
    assert (whisper.model, whisper.devices, whisper.replicas, whisper.compute_type) == (
        "whisper/medium",
        ("cuda:0", "cuda:1"),
        8,
        "int8_float16",
    )
    assert placed.gpus_of("anything") == (2, 3)


def test_a_language_model_has_the_devices_of_its_deployment(tmp_path: Path) -> None:
    placed = read(tmp_path, '[[llm]]\ndevices = ["cuda:0"]\n[[llm]]\ndeployment = "large"\ndevices = ["cuda:2", "cuda:1"]\n')
    assert (placed.gpus_of("large"), placed.gpus_of("small")) == ((2, 1), (0,))
    assert read(tmp_path, "").gpus_of("large") == ()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (WHISPER, "transcribe.0.devices: Field required"),
        (WHISPER + "devices = []\n", "transcribe.0.devices"),
        (WHISPER + 'devices = ["gpu0"]\n', "transcribe.0.devices.0"),
        (WHISPER + 'devices = ["cuda:01"]\n', "transcribe.0.devices.0"),
        (WHISPER + 'devices = ["cuda:0", "cuda:0"]\n', "cuda:0 stands here twice"),
        (WHISPER + 'devices = ["cuda:0"]\nreplica = 8\n', "transcribe.0.replica: Extra inputs"),
        (WHISPER + 'devices = ["cuda:0"]\nreplicas = 0\n', "transcribe.0.replicas"),
        (WHISPER + 'devices = ["cuda:0"]\ncompute_type = "int4"\n', "`int4` is none of default, int8"),
        (WHISPER + 'devices = ["cuda:0"]\ncompute_type = "bfloat16"\n', "`bfloat16` is none of"),
        (WHISPER + 'devices = ["cpu"]\ncompute_type = "int8_float16"\n', "`int8_float16` needs a GPU"),
        (WHISPER + 'devices = ["cuda:0"]\n' + WHISPER + 'devices = ["cuda:1", "cuda:0"]\n', "whisper/medium is placed on cuda:0 twice"),
        (WHISPER + 'devices = ["cuda:1"]\n[[llm]]\ndevices = ["cuda:1"]\n', "cuda:1 is given to transcribe 1 and to llm 1"),
        ('[[llm]]\ndevices = ["cuda:1"]\n[[llm]]\ndevices = ["cuda:1"]\n', "cuda:1 is given to llm 1 and to llm 2"),
        ('[[llm]]\ndevices = ["cpu"]\n', "placed on GPUs"),
        (
            WHISPER + 'devices = ["cuda:0"]\nreplicas = 8\nmemory_gb = 2\n[devices."cuda:0"]\nmemory_gb = 12\n',
            "cuda:0 has 12 GB, and what is placed there takes 16",
        ),
        ("[gpus]\n", "gpus: Extra inputs"),
        ("transcribe = [\n", r"is not TOML \(at "),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(FailedPrecondition, match=told) as raised:
        read(tmp_path, text)
    assert raised.value.reason == "PLACEMENT_INVALID"
    assert "placement.toml" in raised.value.message


def test_memory_that_is_not_known_is_not_counted(tmp_path: Path) -> None:
    read(tmp_path, WHISPER + 'devices = ["cuda:0"]\nreplicas = 64\n[devices."cuda:0"]\nmemory_gb = 1\n')


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(FailedPrecondition, match="No such file") as raised:
        read_placement(tmp_path / "absent.toml")
    assert raised.value.reason == "PLACEMENT_UNREADABLE"
