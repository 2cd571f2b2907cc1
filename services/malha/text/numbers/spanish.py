"""The number words of Spanish."""

from malha.text.numbers.grammar import Entry, Kind, Lexicon, digits, entries, separators
from malha.text.tokens import word_set

LEXICON = Lexicon(
    words={
        **digits("cero", "uno una un", "dos", "tres", "cuatro", "cinco", "seis", "siete", "ocho", "nueve", shared="uno una un"),
        **entries(
            Kind.TEEN,
            10,
            1,
            "diez",
            "once",
            "doce",
            "trece",
            "catorce",
            "quince",
            "dieciseis",
            "diecisiete",
            "dieciocho",
            "diecinueve",
            "",
            "veintiuno veintiun veintiuna",
            "veintidos",
            "veintitres",
            "veinticuatro",
            "veinticinco",
            "veintiseis",
            "veintisiete",
            "veintiocho",
            "veintinueve",
        ),
        **entries(Kind.TENS, 20, 10, "veinte", "treinta", "cuarenta", "cincuenta", "sesenta", "setenta", "ochenta", "noventa"),
        **entries(
            Kind.HUNDREDS,
            100,
            100,
            "ciento",
            "doscientos doscientas",
            "trescientos trescientas",
            "cuatrocientos cuatrocientas",
            "quinientos quinientas",
            "seiscientos seiscientas",
            "setecientos setecientas",
            "ochocientos ochocientas",
            "novecientos novecientas",
        ),
        "cien": Entry(Kind.EXACT, 100),
        "mil": Entry(Kind.THOUSAND, 1000),
        **entries(Kind.SCALE, 10**6, 0, "millon millones"),
        **entries(Kind.SCALE, 10**12, 0, "billon billones"),
        "y": Entry(Kind.AND),
        **entries(Kind.REPEAT, 2, 1, "doble", "triple"),
        **separators(coma=",", punto=".", guion="-", barra="/"),
    },
    and_after=frozenset({Kind.TENS, Kind.SCALE}),
    bare_after=frozenset({Kind.HUNDREDS}),
    lone_thousand=True,
    half=frozenset({"medio"}),
    units=word_set(
        "euro euros dolar dolares peso pesos centimo centimos centavo centavos kilo kilos kg gramo gramos litro litros metro "
        "metros kilometro kilometros km giga gigas gb mega megas mb tera teras tb"
    )
    | {"por ciento", "por cien"},
    not_after={
        "ciento": frozenset({"por"}),
        "cien": frozenset({"por"}),
        "mil": word_set("cuantos cuantas tantos tantas varios varias algunos algunas pocos pocas medio"),
    },
    not_before={"mil": word_set("gracias disculpas perdones maravillas besos abrazos")},
)
"""10^9 is ``mil millones``, 10^12 ``un billón``."""
