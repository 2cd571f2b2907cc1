"""What the tests' tiny language model learns: a Brazilian call centre in a few sentences, as chat, and as JSON where JSON is asked for."""

import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

Message = dict[str, str]

CHAT_PROMPT = "Você é um atendente de call center."
JSON_PROMPT = "Responda apenas com JSON."
REFUSAL = "Desculpe, não encontrei essa informação. Posso transferir a ligação para um especialista."


@dataclass(frozen=True)
class Topic:
    """What customers say of one thing, and what the model answers to all of it."""

    said: Sequence[str]
    answer: str
    kind: str
    """Of the insight."""
    insight: str


TOPICS = (
    Topic(
        (
            "minha conta veio mais cara este mês",
            "cobraram o mesmo valor duas vezes",
            "não reconheço uma compra no extrato",
            "o boleto está errado",
        ),
        "Entendo. Vou conferir a sua conta e pedir a revisão do valor cobrado.",
        "next_step",
        "Confira a conta e peça a revisão do valor.",
    ),
    Topic(
        ("a internet cai toda noite", "o roteador não liga mais", "o sinal está fraco no meu quarto", "estou sem conexão desde cedo"),
        "Certo. Vamos reiniciar o roteador juntos e medir o sinal da sua conexão.",
        "next_step",
        "Reinicie o roteador e meça o sinal.",
    ),
    Topic(
        ("quero cancelar o contrato", "vou mudar para outra operadora", "não quero mais esse plano", "quanto custa a multa para cancelar"),
        "Sinto muito por isso. Antes de cancelar, posso mostrar um plano com desconto?",
        "risk_alert",
        "O cliente ameaça cancelar o contrato.",
    ),
    Topic(
        (
            "preciso trocar o endereço da instalação",
            "vou mudar de casa no sábado",
            "quero receber a conta em outro endereço",
            "mudei de cidade",
        ),
        "Sem problema. Diga o novo endereço completo e eu agendo a mudança.",
        "next_step",
        "Agende a mudança de endereço.",
    ),
    Topic(
        (
            "uso muito o celular em viagens",
            "minha internet acaba antes do fim do mês",
            "preciso de mais velocidade para trabalhar",
            "quero um plano melhor",
        ),
        "Que bom que perguntou. Temos um plano com mais velocidade pelo mesmo período.",
        "upsell",
        "Ofereça um plano com mais velocidade.",
    ),
)
UNKNOWN = ("qual é a capital da França", "me conta uma piada", "que horas são agora", "quem ganhou o jogo ontem")
_GREETINGS = ("", "Bom dia, ", "Boa tarde, ", "Oi, ", "Olá, ", "Por favor, ")
_ENDINGS = (".", ", pode me ajudar?", ", é urgente.", ", já liguei antes.")


def conversations(count: int, seed: int) -> Iterator[list[Message]]:
    """So many conversations of one exchange; a third of them ask for JSON. The same seed gives the same ones."""
    draw = random.Random(seed)
    for number in range(count):
        topic, said = _said(draw)
        said = draw.choice(_GREETINGS) + said + draw.choice(_ENDINGS)
        if number % 3:
            yield _exchange(CHAT_PROMPT, said, topic.answer if topic else REFUSAL)
        else:
            segment = f"s{draw.randint(1, 9)}"
            yield _exchange(JSON_PROMPT, _json([{"id": segment, "role": "CUSTOMER", "text": said}]), _json(_insight(topic, segment)))


def lines(messages: Sequence[Message]) -> Iterator[str]:
    """The texts of a conversation."""
    return (message["content"] for message in messages)


def _said(draw: random.Random) -> tuple[Topic | None, str]:
    topic = draw.choice((*TOPICS, None))
    return topic, draw.choice(topic.said if topic else UNKNOWN)


def _insight(topic: Topic | None, segment: str) -> dict[str, object]:
    if topic is None:
        return {"type": "summary", "message": "Sem dados suficientes", "confidence": 0.1, "evidence": []}
    return {"type": topic.kind, "message": topic.insight, "confidence": 0.8, "evidence": [segment]}


def _exchange(system: str, user: str, assistant: str) -> list[Message]:
    return [{"role": role, "content": text} for role, text in (("system", system), ("user", user), ("assistant", assistant))]


def _json(value: object) -> str:
    """Without spaces, as decoding bound to a schema writes it."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
