"""The number words of Portuguese, of Brazil and of Portugal."""

from malha.text.numbers.grammar import Entry, Kind, Lexicon, digits, entries, separators
from malha.text.tokens import word_set

LEXICON = Lexicon(
    words={
        **digits("zero", "um uma", "dois duas", "tres", "quatro", "cinco", "seis", "sete", "oito", "nove", shared="um uma"),
        "meia": Entry(Kind.WEAK, 6),
        **entries(
            Kind.TEEN,
            10,
            1,
            "dez",
            "onze",
            "doze",
            "treze",
            "catorze quatorze",
            "quinze",
            "dezesseis dezasseis",
            "dezessete dezassete",
            "dezoito",
            "dezenove dezanove",
        ),
        **entries(Kind.TENS, 20, 10, "vinte", "trinta", "quarenta", "cinquenta cincoenta", "sessenta", "setenta", "oitenta", "noventa"),
        **entries(
            Kind.HUNDREDS,
            100,
            100,
            "cento",
            "duzentos duzentas",
            "trezentos trezentas",
            "quatrocentos quatrocentas",
            "quinhentos quinhentas",
            "seiscentos seiscentas",
            "setecentos setecentas",
            "oitocentos oitocentas",
            "novecentos novecentas",
        ),
        "cem": Entry(Kind.EXACT, 100),
        "mil": Entry(Kind.THOUSAND, 1000),
        **entries(Kind.SCALE, 10**6, 0, "milhao milhoes"),
        **entries(Kind.SCALE, 10**9, 0, "bilhao bilhoes"),
        **entries(Kind.SCALE, 10**12, 0, "biliao bilioes trilhao trilhoes"),
        "e": Entry(Kind.AND),
        **entries(Kind.REPEAT, 2, 1, "duplo dupla", "triplo tripla"),
        **separators(virgula=",", ponto=".", traco="-", tracinho="-", hifen="-", barra="/"),
    },
    and_after=frozenset({Kind.TENS, Kind.HUNDREDS, Kind.THOUSAND, Kind.SCALE}),
    bare_after=frozenset(),
    lone_thousand=True,
    half=frozenset({"meio"}),
    units=word_set(
        "reais centavos centavo euro euros dolar dolares libra libras porcento quilo quilos kg grama gramas litro litros metro "
        "metros quilometro quilometros km giga gigas gb mega megas mb tera teras tb"
    )
    | {"por cento", "real $", "real e", "real por", "real de"},
    not_after={
        "cento": frozenset({"por"}),
        "cem": frozenset({"por"}),
        "mil": word_set("quantos quantas tantos tantas varios varias alguns algumas poucos poucas meio"),
    },
    not_before={
        "mil": word_set("desculpas perdoes obrigados obrigadas gracas maravilhas beijos abracos"),
        "meia": word_set("hora horas noite duzia dia volta boca vida entrada idade luz"),
    },
)
"""``bilião`` is the 10^12 of Portugal, ``bilhão`` the 10^9 of Brazil; in Portugal 10^9 is ``mil milhões``."""
