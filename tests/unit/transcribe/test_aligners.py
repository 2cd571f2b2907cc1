"""Which aligner a language has, and what is wrong with MALHA_ALIGN_MODELS."""

from pathlib import Path

import pytest

from malha.runtime.errors import FailedPrecondition
from malha.transcribe.aligners import make_aligner
from malha.transcribe.settings import AlignSettings


@pytest.mark.parametrize("models", ["pt", "pt=", "=x", "p1=x", "pt=/x, es"])
def test_what_names_no_model_is_refused(models: str) -> None:
    with pytest.raises(FailedPrecondition, match="is not LANGUAGE=DIRECTORY"):
        make_aligner(AlignSettings(_env_file=None, align_models=models))


def test_missing_packages_interpreter_and_model_say_what_helps(tmp_path: Path) -> None:
    with pytest.raises(FailedPrecondition, match="there is no Python at MALHA_ALIGN_PYTHON: make engine-align"):
        make_aligner(AlignSettings(_env_file=None, align_models=f"pt={tmp_path}", align_python=tmp_path / "python"))
    interpreter = tmp_path / "python"
    interpreter.touch(0o755)
    with pytest.raises(FailedPrecondition, match="holds no wav2vec2 model"):
        make_aligner(AlignSettings(_env_file=None, align_models=f"pt={tmp_path}", align_python=interpreter))


async def test_english_is_in_the_box() -> None:
    aligner = make_aligner(AlignSettings(_env_file=None))
    assert aligner.check("en-US").model == "en-us"
    with pytest.raises(FailedPrecondition, match="make engine-align"):
        aligner.check("pt")
    await aligner.close()
