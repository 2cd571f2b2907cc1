"""The words of a text as they are compared: stems without accents, without the words every text has."""

from malha.text.stems import stems


def terms(text: str, language: str) -> list[str]:
    """Stems in their order, repeated as they are."""
    return stems(text, language, stop_words=False)
