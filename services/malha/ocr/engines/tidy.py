"""What recognisers that also know Chinese write in texts that are not: signs of one piece or of double width, where two or a plain one stand."""

import re
from typing import Final

_PIECES: Final = {"°℃": "°C", "℃": "°C", "°℉": "°F", "℉": "°F", "\u3000": " "}
_FOUND: Final = re.compile("|".join(sorted(_PIECES, key=len, reverse=True)))
_EAST_ASIAN: Final = re.compile("[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af]")
_WIDE: Final = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)}
"""The forms of double width of ASCII (Unicode, Halfwidth and Fullwidth Forms)."""


def tidy(text: str) -> str:
    """A line as it is usually written; one with Chinese, Japanese or Korean in it stays."""
    text = text.strip()
    if _EAST_ASIAN.search(text):
        return text
    return _FOUND.sub(lambda found: _PIECES[found[0]], text.translate(_WIDE))
