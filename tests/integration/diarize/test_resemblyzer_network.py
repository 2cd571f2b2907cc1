"""The network is run by ONNX Runtime as resemblyzer runs it on PyTorch."""

import subprocess
from pathlib import Path

import numpy as np
import pytest
from conftest import REPOSITORY, silence, voice

from malha.diarize.engines.resemblyzer_mel import mel_spectrogram
from malha.diarize.engines.resemblyzer_network import Network, levelled
from malha.diarize.engines.resemblyzer_weights import COMMAND, find, read

VENV = REPOSITORY / ".venvs" / "resemblyzer" / "bin" / "python"
TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def network() -> Network:
    path = find()
    if path is None:
        pytest.skip(f"the wheel is not installed: {COMMAND}")
    return Network(read(path))


def windows() -> dict[str, np.ndarray]:
    return {
        "whole": voice(1.6),
        "short": voice(0.5, seed=4),
        "long": voice(3.1, seed=5),
        "quiet": voice(1.2, loudness=60.0, seed=6),
        "loud": voice(1.6, loudness=32_000.0, seed=7),
        "noise": silence(1.6, noise=2_000.0),
    }


def recorded(shared_data: Path) -> dict[str, np.ndarray]:
    from malha.bench.speech import decode

    samples = decode(shared_data / "diarization" / "sample.wav")
    return {f"recorded{second}": samples[second * 16_000 :][:25_600] for second in (7, 11, 22)}


@pytest.mark.engine("resemblyzer", "resemblyzer-torch")
def test_prints_are_those_of_pytorch(network: Network, shared_data: Path, tmp_path: Path) -> None:
    if not VENV.exists():
        pytest.skip(f"{VENV} is absent: make engine-resemblyzer")
    given = windows() | recorded(shared_data)
    np.savez(tmp_path / "in.npz", **given)
    script = REPOSITORY / "tests" / "fakes" / "resemblyzer_torch.py"
    subprocess.run([VENV, script, tmp_path / "in.npz", tmp_path / "out.npz"], check=True, timeout=300)
    with np.load(tmp_path / "out.npz") as expected:
        for name, samples in given.items():
            mel = expected[f"mel-{name}"]
            np.testing.assert_allclose(mel_spectrogram(levelled(samples)), mel, atol=1e-5 * mel.max(), err_msg=name)
        found = network.prints(list(given.values()))
        for name, embedding in zip(given, found, strict=True):
            assert np.abs(embedding - expected[f"print-{name}"]).max() < TOLERANCE, name


@pytest.mark.engine("resemblyzer")
def test_windows_that_share_a_batch_are_as_if_alone(network: Network) -> None:
    given = list(windows().values())
    together = network.prints(given)
    for samples, embedding in zip(given, together, strict=True):
        np.testing.assert_allclose(network.prints([samples])[0], embedding, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1.0, atol=1e-5)


@pytest.mark.engine("resemblyzer")
def test_silence_has_a_print_that_is_finite(network: Network) -> None:
    assert np.isfinite(network.prints([np.zeros(8_000, np.int16)])).all()
