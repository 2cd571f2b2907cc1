"""Whose caller the program is."""

import os

from malha.runtime.auth import TOKEN_FILE
from malha.runtime.errors import Unavailable
from malha.runtime.settings import RuntimeSettings


def local_token() -> str:
    """``MALHA_TOKEN``, else the one `malha up` with the same environment and ``.env`` made. Raises Unavailable without either."""
    given = os.environ.get("MALHA_TOKEN", "").strip()
    if given:
        return given
    try:
        return (RuntimeSettings().data_dir / TOKEN_FILE).read_text().strip()
    except FileNotFoundError:
        raise Unavailable(
            "there is no token for that server: set MALHA_TOKEN, or start one with: malha up", reason="TOKEN_MISSING"
        ) from None
