"""The adapted means: what they were made from, and the adaptation with the real espeak-ng and PocketSphinx on a few sentences."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from malha.transcribe import language_model
from malha.transcribe.language_model import build
from malha.transcribe.language_model.acoustic import FOLDER, features, read_about, read_model, write_means
from malha.transcribe.language_model.adapt import Adaptation, Occupation, digest, plan, update

pytestmark = pytest.mark.engine("pocketsphinx")
REBUILD = "python -m malha.transcribe.language_model.build"
SMALL = """
import sys
from pathlib import Path
from malha.transcribe.language_model import DICTIONARY
from malha.transcribe.language_model.acoustic import read_model, write_means
from malha.transcribe.language_model.adapt import Adaptation, adapt, plan
adaptation = Adaptation(sentences=4)
sentences = [("i", "want", "to", "cancel", "my", "order"), ("please", "hold", "the", "line"), ("my", "internet", "is", "very", "slow"),
    ("how", "can", "i", "help", "you", "today")]
means = adapt(read_model(), plan(sentences, adaptation), DICTIONARY, adaptation.tau, print)
write_means(means, Path(sys.argv[1]))
"""


def test_the_committed_means_were_made_from_this_text() -> None:
    adaptation = Adaptation()
    made_from = digest(plan(build.read_sentences(), adaptation), adaptation)
    assert read_about(language_model.MEANS)[build.PLAN] == made_from, f"the text or the plan changed: {REBUILD}"


def test_adaptation_is_the_same_twice_and_moves_some_means_a_little(tmp_path: Path) -> None:
    made = []
    for number in range(2):
        path = tmp_path / f"{number}.means"
        # Each in a process of its own, as espeak-ng keeps state and a build is one.
        run = subprocess.run([sys.executable, "-c", SMALL, path], capture_output=True, text=True, timeout=120, check=False)
        assert run.returncode == 0, run.stderr
        assert "4 of 4 sentences spoken, 4 of them aligned" in run.stdout
        made.append(path.read_bytes())
    assert made[0] == made[1]
    model = read_model()
    moved = np.frombuffer(made[0][-4 * model.means.size :], "<f4").reshape(model.means.shape) - model.means
    assert 0.1 < np.abs(moved).max() < 30
    assert np.abs(moved[model.phones.index("ZH")]).max() < 1e-4, "a phone nobody spoke stays where it was"


def test_means_written_back_unchanged_are_the_wheel_s(tmp_path: Path) -> None:
    model = read_model()
    write_means(model.means, tmp_path / "means", plan="none")
    original = (FOLDER / "means").read_bytes()
    written = (tmp_path / "means").read_bytes()
    body = original.partition(b"endhdr\n")[2][:-4]  # its end is a checksum
    assert written.partition(b"endhdr\n")[2] == body
    assert read_about(tmp_path / "means") == {"version": "1.0", "plan": "none"}


def test_a_mean_moves_by_how_many_frames_there_are() -> None:
    means = np.zeros((1, 1, 2, 1))
    occupation = Occupation(np.array([[[20.0, 0.0]]]), np.array([[[[60.0], [0.0]]]]))
    assert update(means, occupation, tau=20).ravel().tolist() == [1.5, 0.0]


def test_features_know_neither_level_nor_constant_channel() -> None:
    cepstra = np.random.default_rng(0).normal(size=(50, 13)).astype(np.float32) + np.float32(20)
    found = features(cepstra)
    assert found.shape == (50, 3, 13)
    np.testing.assert_allclose(found, features(cepstra + np.float32(3)), atol=1e-4)
    np.testing.assert_allclose(found[10, 1], cepstra[12] - cepstra[8], atol=1e-5)
    np.testing.assert_allclose(found[10, 2], (cepstra[13] - cepstra[9]) - (cepstra[11] - cepstra[7]), atol=1e-5)
