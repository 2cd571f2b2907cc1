"""Long texts are scrubbed as short ones are, and nobody waits for it."""

import asyncio
import itertools
import unicodedata

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakes.loop_watch import never_blocked
from malha.chat.pace import Pace
from malha.chat.scrubbing import AROUND, STRETCH, Scrubber
from malha.text.pii import scrub_text

LONG = 200_000
"""Characters; no message of the contract has more."""
CPF = "529.982.247-25"
SPOKEN = "cinco dois nove nove oito dois dois quatro sete dois cinco"
TEXTS = {
    "words": "quero cancelar o plano porque a conta do telefone 11 98765 4321 veio errada ",
    "tabs": "nome\tMaria\tcpf\t529.982.247-25\tpedido\t12\t",
    "lines": "oi\n",
    "empty lines": "\n",
    "digits": "1 ",
    "one word of digits": "1234567890",
    "one word of number words": "oito,",
    "signs": "+1",
    "dashes": "1-",
    "addresses": "a@b.",
    "no break at all": "a",
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
async def test_the_longest_message_does_not_keep_the_loop(text: str) -> None:
    whole = (text * (20_000 // len(text) + 1))[
        :20_000
    ]  # each stretch costs the same: ten times as many take longer, as the test below has it
    await Scrubber(("Maria Clara",)).text(whole[:2000], "")  # what is made once
    async with never_blocked():
        await Scrubber(("Maria Clara",)).text(whole, "")


async def test_nor_does_a_line_that_goes_on_and_on() -> None:
    whole = ("sim " * LONG)[:LONG]
    await Scrubber().text("sim", "pt")
    async with never_blocked():
        assert await Scrubber().text(whole, "pt") == whole


async def test_nor_do_many_at_once_and_all_get_on() -> None:
    scrubber = Scrubber(pace=Pace())
    text = TEXTS["words"] * (LONG // len(TEXTS["words"]) // 10)
    order: list[str] = []

    async def scrub(name: str, given: str) -> None:
        await scrubber.text(given, "pt")
        order.append(name)

    await scrubber.text(text[:2000], "pt")
    async with never_blocked():
        await asyncio.gather(*(scrub(f"long {number}", text) for number in range(4)), scrub("short", "meu CPF é 529.982.247-25"))
    assert order[0] == "short"


async def test_nor_do_many_short_texts_one_after_the_other() -> None:
    scrubber = Scrubber()
    async with never_blocked():
        for _ in range(200):
            assert await scrubber.text("meu CPF é 529.982.247-25, e o telefone?", "pt") == "meu CPF é [CPF], e o telefone?"


async def test_data_of_a_program_is_walked_in_steps_too() -> None:
    many = orjson.dumps([["a", 1.5, {"id": CPF, "text": f"meu CPF é {CPF}"}]] * 1000).decode()
    deep = "[" * 900 + "]" * 900
    async with never_blocked():
        scrubbed = orjson.loads(await Scrubber().text(many, "pt"))
        await Scrubber().text(deep, "pt")
    assert scrubbed == [["a", 1.5, {"id": CPF, "text": "meu CPF é [CPF]"}]] * 1000


@pytest.mark.parametrize("personal", [f"CPF {CPF}", f"cpf {SPOKEN}", "maria.clara@example.com", "Maria Clara"])
@pytest.mark.parametrize("around", ["palavra ", "sim, ", "é\u00a0"])
async def test_what_stands_across_the_end_of_a_stretch_is_found(personal: str, around: str) -> None:
    scrubber = Scrubber(("Maria Clara",))
    for place in range(STRETCH - len(personal) - len(around), STRETCH + len(around), 3):
        before = (around * STRETCH)[:place].rstrip(",")
        scrubbed = await scrubber.text(f"{before} {personal} {around * STRETCH}", "pt")
        assert scrubbed.startswith(before.rstrip())
        assert scrubbed.endswith(around * STRETCH)
        assert "[" in scrubbed
        assert not any(part in scrubbed for part in ("529", "cinco", "nove", "247", "@", "Clara"))


async def test_accents_that_are_characters_of_their_own_hide_nothing_and_stay() -> None:
    said, told = "Olá, é a Zuleika Conceição, joão@exemplo.com.br, às dez", "Olá, é a [NAME], [EMAIL], às dez"
    scrubber = Scrubber(("Zuleika Conceição",))
    for form in ("NFC", "NFD"):
        assert await scrubber.text(unicodedata.normalize(form, said), "pt") == unicodedata.normalize(form, told)


async def test_a_word_that_does_not_end_is_read_in_parts() -> None:
    fields = [f"cliente{number};{CPF};ativo" for number in range(50)]
    scrubbed = await Scrubber().text(",".join(fields), "pt")
    assert CPF not in scrubbed
    assert "247" not in scrubbed
    assert scrubbed.count("cliente") == 50


@given(
    st.lists(
        st.sampled_from(["oi", "plano", "  ", "\t", "\n", ",", "99,90", "(sim)", CPF, "11 98765-4321", "x" * 150, SPOKEN]), max_size=30
    )
)
async def test_only_what_is_personal_goes(parts: list[str]) -> None:
    text = " ".join(parts)
    scrubbed = await Scrubber().text(text, "pt")
    assert CPF not in scrubbed
    assert [*itertools.takewhile(str.isspace, text)] == [*itertools.takewhile(str.isspace, scrubbed)]
    if all(len(line) <= STRETCH and "x" not in line for line in text.splitlines()):
        whole = [" ".join(scrub_text(line, "pt").split()) for line in text.splitlines()]
        assert [" ".join(line.split()) for line in scrubbed.splitlines()] == whole
    assert len(SPOKEN) < AROUND
