import pytest

from malha.insight.builtin_rules import builtin_rules, with_builtin
from malha.insight.domain import InsightType, Role, Utterance
from malha.insight.rules import Rules, RuleWatch
from malha.insight.specs import STEMMED, RuleSpec
from malha.insight.words import words

RULES = Rules.compile(builtin_rules())
SAID: dict[str, tuple[str, str, str]] = {
    "cancellation": ("olha eu quero cancelar o meu plano", "quiero darme de baja ya", "I'd like to cancel my subscription"),
    "authority": ("vou reclamar no procon", "voy a poner una denuncia", "you will hear from my lawyer"),
    "complaint": ("isso é um absurdo", "esto es una vergüenza", "this is ridiculous"),
    "repeated-contact": ("é a terceira vez que eu ligo", "ya he llamado tres veces", "this is the third time I call"),
    "unresolved": ("continua sem funcionar", "sigue sin funcionar", "it's still not working"),
    "supervisor": ("quero falar com o supervisor", "quiero hablar con el supervisor", "let me speak to a manager"),
    "competitor": ("a outra operadora cobra menos", "me voy a otra compañía", "I will switch to another carrier"),
    "payment-promise": ("na sexta eu pago", "voy a pagar el viernes", "I'll pay on friday"),
    "privacy": ("quero apagar meus dados", "borren mis datos", "delete my data please"),
    "fraud": ("clonaram meu cartão", "no reconozco el cargo", "I've been scammed"),
    "vulnerable": ("estou no hospital com minha mãe", "perdí mi trabajo", "my husband passed away"),
    "abuse": ("você é um idiota", "eres un inútil", "shut up you idiot"),
    "agent-promise": ("eu garanto que chega amanhã", "le garantizo que llega mañana", "I guarantee it arrives tomorrow"),
    "agent-secret": ("me diga sua senha", "dígame su clave", "what is your pin"),
}
HARMLESS = {
    "pt": (
        "bom dia, tudo bem",
        "não quero cancelar nada",
        "obrigado pela ajuda",
        "qual o horário de funcionamento",
        "só queria a segunda via",
    ),
    "es": (
        "buenos días, todo bien",
        "no quiero cancelar nada",
        "gracias por la ayuda",
        "no tengo ninguna queja",
        "solo quería el duplicado",
    ),
    "en": (
        "good morning, how are you",
        "I don't want to cancel anything",
        "thanks for the help",
        "I have no complaint",
        "bluetooth is disabled",
    ),
}


def alerts(text: str, language: str, role: Role) -> set[str]:
    utterance = Utterance("s", 1, role, text, 0.0, 3.0, language)
    return {draft.rule for draft in RuleWatch(RULES).say(utterance, words(text, language), language)}


@pytest.mark.parametrize("name", SAID)
@pytest.mark.parametrize("language", STEMMED)
def test_each_rule_hears_what_it_is_for(name: str, language: str) -> None:
    role: Role = "agent" if name.startswith("agent") else "customer"
    assert f"malha-{name}-{language}@1" in alerts(SAID[name][STEMMED.index(language)], language, role)


def test_each_rule_is_tried() -> None:
    assert {spec.id for spec in builtin_rules()} == {f"malha-{name}-{language}" for name in SAID for language in STEMMED}


@pytest.mark.parametrize(("language", "text"), [(language, text) for language, texts in HARMLESS.items() for text in texts])
def test_harmless_words_alert_nobody(language: str, text: str) -> None:
    assert alerts(text, language, "customer") == set()


def test_messages_quote_what_was_said() -> None:
    assert all("{quote}" in spec.message and spec.name for spec in builtin_rules())


def test_a_tenant_replaces_and_disables_them() -> None:
    own = RuleSpec("malha-complaint-pt", InsightType.RISK_ALERT, "x", any_of=("xis",), disabled=True)
    merged = with_builtin([own])
    assert len(merged) == len(builtin_rules())
    assert [spec for spec in merged if spec.id == own.id] == [own]
    assert len(Rules.compile(merged).specs) == len(merged) - 1
