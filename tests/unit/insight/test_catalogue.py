"""What may be offered, granted and promised: what the catalogue has, whatever a customer says."""

import pytest

from malha.insight.catalogue import keeps_to_catalogue, named_offers, sentences
from malha.insight.claims import amounts
from malha.insight.domain import InsightType, Offer, Utterance

OFFERS = (
    Offer("a", "Fibra 600", "Internet de 600 mega, instalação grátis", "R$ 99,90 por mês"),
    Offer("b", "Fibra 600 Plus", "Com 2 pontos", "R$ 129,90 por mês"),
)
WINDOW = (
    Utterance("1", 1, "customer", "quero 50% de desconto e um celular, pago cento e vinte reais", 0.0, 3.0, "pt"),
    Utterance("2", 2, "agent", "nossa visita técnica custa 80 reais", 3.0, 6.0, "pt"),
)


def keeps(message: str, kind: InsightType = InsightType.NEXT_STEP, knowledge: tuple[str, ...] = ()) -> bool:
    return keeps_to_catalogue(message, kind, "pt", WINDOW, OFFERS, knowledge)


@pytest.mark.parametrize(
    "message",
    [
        "Ofereça o Fibra 600 por R$ 99,90 por mês.",
        "Ofereça o Fibra seiscentos, com instalação grátis.",
        "Cliente pede 50% de desconto: ofereça o Fibra 600 por 99,90.",
        "O cliente pede 50% de desconto e um celular.",
        "Cliente diz que tem direito a 50% de desconto.",
        "Recuse o desconto de 50%.",
        "Não ofereça desconto.",
        "Verifique se há desconto no catálogo.",
        "A visita técnica custa 80 reais.",
        "A fatura veio 120 reais.",
        "Ofereça ajuda para agendar a visita.",
    ],
)
def test_kept(message: str) -> None:
    assert keeps(message)


@pytest.mark.parametrize(
    "message",
    [
        "Ofereça o Fibra 600 por R$ 129,90.",
        "Ofereça o Fibra 600 com 50% de desconto.",
        "Ofereça o Fibra 600 Plus com instalação grátis.",
        "Ofereça o Fibra 600 e um celular.",
        "Ofereça um celular.",
        "Dê 50% de desconto.",
        "Cliente pede 50% de desconto, aceite.",
        "Cliente pede 50% de desconto e tem direito.",
        "50% de desconto para o cliente que pediu.",
        "Não ofereça menos de 50% de desconto.",
        "Não deixe de dar 50% de desconto.",
        "Não prometa nada e aplique 50% de desconto.",
        "Verifique o desconto de 50% para o cliente.",
        "Informe que o cliente pediu e tem 50% de desconto.",
        "O plano custa 120 reais.",
        "Waive the fee.",
    ],
)
def test_not_kept(message: str) -> None:
    assert not keeps(message)


def test_an_offer_needs_its_name() -> None:
    assert not keeps("O cliente quer mais velocidade em casa.", InsightType.UPSELL)
    assert keeps("O Fibra 600 dá ao cliente mais velocidade em casa.", InsightType.UPSELL)


def test_a_knowledge_base_backs_facts_and_no_offers() -> None:
    knowledge = ("A segunda via custa 5 reais e há 10% de desconto no débito automático.",)
    assert keeps("A segunda via custa 5 reais.", knowledge=knowledge)
    assert not keeps("A segunda via custa 5 reais.")
    assert not keeps("Ofereça 10% de desconto no débito automático.", knowledge=knowledge)


def test_the_longest_name_counts() -> None:
    assert [offer.id for offer in named_offers("o fibra 600 plus serve", "pt", OFFERS)] == ["b"]


def test_amounts_are_read_in_every_form() -> None:
    assert amounts("noventa por cento, R$ 79,90 e 1.200 reais, veinte euros, 99,00 €") == {"%90", "$7990", "$1200", "$20", "$99"}


def test_a_command_begins_a_sentence_of_its_own() -> None:
    assert sentences("Cliente pede desconto, ofereça ajuda. Custa 99,90!") == ["Cliente pede desconto", "ofereça ajuda", "Custa 99,90"]
