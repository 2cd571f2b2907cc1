"""Personal numbers, addresses and listed names in the words of a call: found, and masked.

Pure functions over `malha.text.spans.Piece`. Numbers may be written or spoken; folding is used to find them, never to rewrite what is shown.
"""

from malha.text.pii.find import find
from malha.text.pii.kinds import Found, Kind
from malha.text.pii.mask import scrub, scrub_text

__all__ = ["Found", "Kind", "find", "scrub", "scrub_text"]
