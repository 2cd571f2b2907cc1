"""Numbers as they are said, written from the grammars of the languages and not from the program's tables."""

from collections.abc import Callable


def _listed(words: str) -> list[str]:
    return words.split()


_PT = {
    "small": _listed(
        "zero um dois três quatro cinco seis sete oito nove dez onze doze treze catorze quinze dezesseis dezessete dezoito dezenove"
    ),
    "tens": _listed("x x vinte trinta quarenta cinquenta sessenta setenta oitenta noventa"),
    "hundreds": _listed("x cento duzentos trezentos quatrocentos quinhentos seiscentos setecentos oitocentos novecentos"),
}
_ES = {
    "small": _listed(
        "cero uno dos tres cuatro cinco seis siete ocho nueve diez once doce trece catorce quince dieciséis diecisiete dieciocho diecinueve veinte "
        "veintiuno veintidós veintitrés veinticuatro veinticinco veintiséis veintisiete veintiocho veintinueve"
    ),
    "tens": _listed("x x x treinta cuarenta cincuenta sesenta setenta ochenta noventa"),
    "hundreds": _listed("x ciento doscientos trescientos cuatrocientos quinientos seiscientos setecientos ochocientos novecientos"),
}
_EN = {
    "small": _listed(
        "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen"
    ),
    "tens": _listed("x x twenty thirty forty fifty sixty seventy eighty ninety"),
}


def portuguese(number: int, *, thousand_million: bool = False) -> str:
    """``thousand_million``: 10^9 as ``mil milhões``, as in Portugal."""
    if number < 20:
        return _PT["small"][number]
    if number < 100:
        return _PT["tens"][number // 10] + (f" e {portuguese(number % 10)}" if number % 10 else "")
    if number == 100:
        return "cem"
    if number < 1000:
        return _PT["hundreds"][number // 100] + (f" e {portuguese(number % 100)}" if number % 100 else "")
    if number < 10**6:
        head, rest = divmod(number, 1000)
        link = " e " if rest < 100 or rest % 100 == 0 else " "
        return ("mil" if head == 1 else f"{portuguese(head)} mil") + (link + portuguese(rest) if rest else "")
    if number < 10**9 or thousand_million:
        head, rest = divmod(number, 10**6)
        name = "milhão" if head == 1 else "milhões"
    else:
        head, rest = divmod(number, 10**9)
        name = "bilhão" if head == 1 else "bilhões"
    return f"{portuguese(head)} {name}" + (f" {portuguese(rest)}" if rest else "")


def spanish(number: int) -> str:
    if number < 30:
        return _ES["small"][number]
    if number < 100:
        return _ES["tens"][number // 10] + (f" y {spanish(number % 10)}" if number % 10 else "")
    if number == 100:
        return "cien"
    if number < 1000:
        return _ES["hundreds"][number // 100] + (f" {spanish(number % 100)}" if number % 100 else "")
    scale, names = (1000, ("mil", "mil")) if number < 10**6 else (10**6, ("un millón", "millones"))
    head, rest = divmod(number, scale)
    said = names[0] if head == 1 else f"{_apocope(spanish(head))} {names[1]}"
    return said + (f" {spanish(rest)}" if rest else "")


def _apocope(said: str) -> str:
    """``veintiún mil``, ``treinta y un mil``: a one before a scale loses its end."""
    if said.endswith("veintiuno"):
        return said.removesuffix("veintiuno") + "veintiún"
    return said.removesuffix("o") if said.endswith(" uno") else said


def english(number: int, *, link: str = " and ", hyphen: str = " ") -> str:
    """``link`` before what is below a hundred, ``hyphen`` between tens and unit."""
    if number < 20:
        return _EN["small"][number]
    if number < 100:
        return _EN["tens"][number // 10] + (hyphen + english(number % 10) if number % 10 else "")
    for scale, name in ((10**9, "billion"), (10**6, "million"), (1000, "thousand"), (100, "hundred")):
        if number >= scale:
            head, rest = divmod(number, scale)
            said = f"{english(head, link=link, hyphen=hyphen)} {name}"
            return said + ((link if rest < 100 else " ") + english(rest, link=link, hyphen=hyphen) if rest else "")
    raise AssertionError


SPELLERS: dict[str, tuple[str, Callable[[int], str]]] = {
    "pt": ("pt", portuguese),
    "pt-portugal": ("pt-PT", lambda number: portuguese(number, thousand_million=True)),
    "es": ("es", spanish),
    "en": ("en", english),
    "en-american": ("en-US", lambda number: english(number, link=" ", hyphen="-")),
}
