"""What Synthesize says of a field, ``malha say`` says of its option."""

from collections.abc import Callable
from pathlib import Path

import pytest

from malha.api.synthesize.v1 import synthesize_pb2 as api
from malha.cli.say_errors import MOST_REFERENCE_BYTES, read_reference, told_by_options
from malha.runtime.auth import Principal
from malha.runtime.errors import InvalidArgument, MalhaError
from malha.runtime.validation import validate
from malha.sdk import InvalidRequest, Unavailable
from malha.synthesize import reference
from malha.synthesize.consent import ConsentBook


def opening(**fields: object) -> Callable[[], None]:
    return lambda: validate(api.SynthesizeRequest(open=api.Open(language="pt", **fields)))


def refuse_to_clone() -> None:
    raise reference.cannot_clone("espeak")


def told(of: Callable[[], object]) -> str:
    """What the program says where the server raises."""
    with pytest.raises(MalhaError) as raised:
        of()
    with pytest.raises(InvalidRequest) as changed, told_by_options():
        raise InvalidRequest(raised.value.message, reason=raised.value.reason, violations=raised.value.violations)
    assert changed.value.message == str(changed.value)
    assert changed.value.reason == raised.value.reason
    return str(changed.value)


@pytest.mark.parametrize(
    ("raises", "words"),
    {
        "no engine for it": (refuse_to_clone, "leave --reference out"),
        "no WAV": (lambda: reference.read_reference(b"no audio"), "--reference: the reference audio cannot be read as WAV"),
        "no consent": (lambda: ConsentBook(None).check("", Principal("t", "token")), "give --consent, the id of its record"),
        "no id": (opening(consent_id="a b"), "--consent: "),
        "too quick": (opening(speed=9.0), "--speed: "),
        "too much": (opening(reference_audio=bytes(MOST_REFERENCE_BYTES + 1)), "--reference: "),
    }.values(),
)
def test_options_are_named_not_fields(raises: Callable[[], object], words: str) -> None:
    message = told(raises)
    assert words in message
    for field in ("reference_audio", "consent_id", "open."):
        assert field not in message


def test_words_of_a_sentence_are_left_alone() -> None:
    with pytest.raises(Unavailable) as raised, told_by_options():
        raise Unavailable("a voice in this language is away: leave `voice` out")
    assert str(raised.value) == "a voice in this language is away: leave --voice out"


def test_the_size_is_the_contracts(tmp_path: Path) -> None:
    file = tmp_path / "voice.wav"
    file.write_bytes(bytes(MOST_REFERENCE_BYTES))
    opening(reference_audio=read_reference(file))()
    for content, words in ((bytes(MOST_REFERENCE_BYTES + 1), "is over 4,128,768 bytes"), (b"", "is empty")):
        file.write_bytes(content)
        with pytest.raises(InvalidArgument, match=f"--reference .*voice.wav {words}"):
            read_reference(file)
