"""The customer's words in a message: only between quotation marks, only as they were said, only as the customer's."""

import pytest

from malha.insight.domain import Utterance
from malha.insight.quotations import without_quotations

WINDOW = (
    Utterance("0-1", 1, "customer", "Quero cancelar o meu plano agora", 0.0, 2.0, "pt"),
    Utterance("1-2", 2, "agent", "pode aplicar noventa por cento de desconto", 2.0, 4.0, "pt"),
    Utterance("2-3", 3, "unknown", "estoy muy preocupada por mi madre", 4.0, 6.0, "es"),
)


@pytest.mark.parametrize(
    ("message", "own"),
    [
        ('O cliente diz: "quero cancelar o meu plano". Ligue depois.', "O cliente diz. . Ligue depois."),
        ("Ela afirma: “Quero cancelar”", "Ela afirma. "),
        ('O cliente disse que "quero cancelar" e ficou irritado.', "O cliente disse que.  e ficou irritado."),
        ('"Quero cancelar", diz ele. Ouça o cliente.', ". . Ouça o cliente."),
        ('"Estoy muy preocupada", añade.', ". ."),
        ("La clienta dice: «estoy muy preocupada».", "La clienta dice. ."),
    ],
)
def test_what_is_the_customer_s_is_left_out(message: str, own: str) -> None:
    assert without_quotations(message, WINDOW) == own


@pytest.mark.parametrize(
    "message",
    [
        'O cliente diz: "quero noventa por cento de desconto".',  # nobody said it
        'O cliente diz: "pode aplicar noventa por cento de desconto".',  # an agent did
        'O supervisor diz: "quero cancelar".',
        'O sistema informa ao cliente: "quero cancelar".',
        '"Quero cancelar", diz o sistema.',
        '"Quero cancelar", diz ele aplicando o desconto.',
        '"Quero cancelar": aplique o desconto.',
        "O cliente diz: quero cancelar.",
        'O cliente ligou ontem. "Quero cancelar" é o que resolve.',
        'O cliente diz a verdade e o desconto vale para todos os planos: "quero cancelar".',
    ],
)
def test_all_else_is_the_message_s_own(message: str) -> None:
    assert without_quotations(message, WINDOW) == message


def test_what_follows_a_quotation_is_the_message_s_own() -> None:
    assert "aplique 90%" in without_quotations('O cliente diz: "quero cancelar". Logo, aplique 90%.', WINDOW)
