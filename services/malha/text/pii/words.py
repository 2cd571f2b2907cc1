"""Words that say what a number is, and words that numbers are said with. All without accents, in lower case; Portuguese, Spanish, English."""

import re
from collections.abc import Mapping
from types import MappingProxyType

from malha.text.pii.kinds import Kind

_ACCENTED, _BASE = "áàâãäéèêëíìîïóòôõöúùûüçñýº\u2013\u2014\u2011\u00a0", "aaaaaeeeeiiiiooooouuuucnyo--- "
_PLAIN = str.maketrans(_ACCENTED + _ACCENTED.upper(), _BASE + _BASE.upper())


def plain(text: str) -> str:
    """Lower case, without accents, long dashes as hyphens. As long as ``text``, so that places in one are places in the other."""
    if text.isascii():
        return text.lower()
    folded = text.translate(_PLAIN)
    lowered = folded.lower()
    return lowered if len(lowered) == len(text) else "".join(sign.lower() if len(sign.lower()) == 1 else sign for sign in folded)


_DIGIT = re.compile(r"\d")


def has_digit(text: str) -> bool:
    """Whether any character is a digit."""
    return _DIGIT.search(text) is not None


CONTEXT: Mapping[str, Kind] = MappingProxyType(
    {
        "cpf": Kind.CPF,
        "cnpj": Kind.CNPJ,
        "rg": Kind.RG,
        "identidade": Kind.RG,
        "cep": Kind.CEP,
        "nif": Kind.NIF,
        "contribuinte": Kind.NIF,
        "nie": Kind.NIE,
        "extranjero": Kind.NIE,
        "extranjeria": Kind.NIE,
        "dni": Kind.DNI,
        "iban": Kind.IBAN,
        "cartao": Kind.CARD,
        "tarjeta": Kind.CARD,
        "card": Kind.CARD,
        "visa": Kind.CARD,
        "mastercard": Kind.CARD,
        **dict.fromkeys(
            [
                "telefone",
                "telefono",
                "celular",
                "cel",
                "movil",
                "telemovel",
                "fone",
                "fixo",
                "fijo",
                "tel",
                "whatsapp",
                "whats",
                "wasap",
                "zap",
                "phone",
                "mobile",
                "cell",
                "telephone",
                "ddd",
                "contato",
                "contacto",
                "ligar",
                "ligue",
                "liga",
                "ligueme",
                "ligue-me",
                "llamar",
                "llame",
                "llameme",
                "llamame",
                "call",
                "recado",
            ],
            Kind.PHONE,
        ),
        **dict.fromkeys(
            ["documento", "document", "passaporte", "pasaporte", "passport", "conta", "cuenta", "account", "pix", "social"], Kind.NUMBER
        ),
    }
)
"""A word near a number that says what kind it is of."""

COPULAS = frozenset(
    [
        "e",
        "es",
        "is",
        "o",
        "el",
        "la",
        "a",
        "the",
        "meu",
        "mi",
        "my",
        "minha",
        "seu",
        "su",
        "your",
        "do",
        "da",
        "de",
        "del",
        "of",
        "numero",
        "number",
        "num",
        "no",
        "n",
        "sim",
        "si",
        "yes",
        "ta",
        "ok",
        "sao",
        "son",
        "era",
        "seria",
        "fica",
        "eh",
        "aqui",
        "aca",
        "here",
        "dele",
        "dela",
        "titular",
        "cliente",
        "cartao",
        "eletronico",
        "electronico",
    ]
)
"""May stand between such a word and its number."""

UNITS = frozenset(
    [
        "real",
        "reais",
        "euro",
        "euros",
        "dolar",
        "dolares",
        "dollar",
        "dollars",
        "peso",
        "pesos",
        "libra",
        "libras",
        "pound",
        "pounds",
        "centavo",
        "centavos",
        "centimo",
        "centimos",
        "cent",
        "cents",
        "mil",
        "milhao",
        "milhoes",
        "bilhao",
        "bilhoes",
        "millon",
        "millones",
        "million",
        "billion",
        "thousand",
        "por",
        "percent",
        "vez",
        "vezes",
        "veces",
        "times",
        "parcela",
        "parcelas",
        "cuota",
        "cuotas",
        "plazo",
        "plazos",
        "prestacao",
        "prestacoes",
        "installments",
        "minuto",
        "minutos",
        "minute",
        "minutes",
        "segundo",
        "segundos",
        "seconds",
        "hora",
        "horas",
        "hour",
        "hours",
        "dia",
        "dias",
        "day",
        "days",
        "mes",
        "meses",
        "month",
        "months",
        "ano",
        "anos",
        "year",
        "years",
        "semana",
        "semanas",
        "weeks",
        "mega",
        "megas",
        "giga",
        "gigas",
        "gb",
        "mb",
        "kb",
        "tb",
        "mbps",
        "kg",
        "quilo",
        "quilos",
        "kilo",
        "kilos",
        "km",
        "metro",
        "metros",
        "meters",
        "ponto",
        "pontos",
        "puntos",
        "points",
        "milhas",
        "millas",
        "miles",
        "unidade",
        "unidades",
        "unidades",
        "units",
        "habitantes",
        "pessoas",
        "personas",
        "people",
        "clientes",
        "customers",
        "usuarios",
        "users",
        "itens",
        "items",
        "pecas",
        "piezas",
        "produtos",
        "productos",
        "products",
        "graus",
        "grados",
        "degrees",
        "litros",
        "ml",
        "cm",
        "mm",
        "watts",
        "volts",
    ]
)
"""A number before one of these is a quantity."""

MAGNITUDES = re.compile(r"\b(milh|bilh|millon|million|billion|trilh)")
"""A number said with one of these is an amount: nobody tells an identifier in millions."""

SIGNS = frozenset(
    [
        "ponto",
        "traco",
        "tracinho",
        "hifen",
        "barra",
        "digito",
        "punto",
        "guion",
        "raya",
        "digito",
        "dot",
        "dash",
        "hyphen",
        "slash",
        "espaco",
        "espacio",
        "space",
    ]
)
"""Said between the groups of a number."""

FILLERS: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "pt": frozenset(["é", "eh", "ah", "ahn", "ha", "hum", "hm", "hmm", "uh", "ne", "ta", "ok", "certo", "isso"]),
        "es": frozenset(["eh", "ah", "em", "hum", "hm", "mmm", "este", "esto", "pues", "vale", "ok"]),
        "en": frozenset(["uh", "um", "uhm", "er", "erm", "hm", "hmm", "ah", "eh", "ok", "okay"]),
    }
)
"""Said while thinking, also within a number."""

SMALL_DIGITS: Mapping[str, str] = MappingProxyType({**dict.fromkeys(("um", "uma", "un", "uno", "una", "one"), "1"), "meia": "6"})
"""Words that are digits only within a number."""

LETTERS: Mapping[str, str] = MappingProxyType(
    {"xis": "X", "equis": "X", "ipsilon": "Y", "ze": "Z", "zeta": "Z", "zee": "Z", "zed": "Z", "be": "B", "ce": "C", "efe": "F", "ge": "G"}
    | {"hache": "H", "aga": "H", "jota": "J", "ka": "K", "ca": "K", "ele": "L", "eme": "M", "ene": "N", "pe": "P", "cu": "Q", "que": "Q"}
    | {
        "erre": "R",
        "ese": "S",
        "esse": "S",
        "te": "T",
        "tee": "T",
        "uve": "V",
        "ve": "V",
        "de": "D",
        "dabliu": "W",
        "bee": "B",
        "jay": "J",
        "kay": "K",
    }
)
"""Letters as recognisers write their names."""

WORDLIKE = frozenset(["de", "te", "se", "ele", "que", "ca", "ce", "ze", "pe", "ve", "be", "ge", "esse", "ese"])
"""Names of letters that are common words: letters only where one is due."""

MONTHS = (
    "janeiro|fevereiro|marco|abril|maio|junho|julho|agosto|setembro|outubro|novembro|dezembro|enero|febrero|marzo|mayo|junio|julio|septiembre|"
    "setiembre|octubre|noviembre|diciembre|january|february|march|april|may|june|july|august|september|october|november|december"
)
