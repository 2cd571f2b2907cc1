"""Where the server is and who calls: from arguments, the environment, and the data directory `malha up` writes to."""

import ipaddress
import os
from dataclasses import dataclass, field
from pathlib import Path

from malha.sdk.errors import InvalidRequest, TokenMissing

_DEFAULT_TARGET = "127.0.0.1:50051"


@dataclass(frozen=True, slots=True)
class Settings:
    """What a client needs to connect. The token is never shown."""

    target: str
    token: str = field(repr=False)
    tls: bool
    root_certificates: bytes | None = field(repr=False)
    """PEM; None: those gRPC ships."""
    timeout_seconds: float
    """Of unary calls."""

    @property
    def loopback(self) -> bool:
        """Whether the target is this machine: no proxy stands between."""
        host = self.target.rpartition("/")[2].rpartition(":")[0].strip("[]")
        if host == "localhost" or self.target.startswith("unix:"):
            return True
        try:
            return ipaddress.ip_address(host).is_loopback
        except ValueError:
            return False


def resolve(target: str | None, token: str | None, *, tls: bool, ca: str | os.PathLike[str] | None, timeout_seconds: float) -> Settings:
    """Fill in what was not given. Raises TokenMissing, InvalidRequest, and OSError where ``ca`` cannot be read."""
    return Settings(
        target=target or os.environ.get("MALHA_TARGET") or _DEFAULT_TARGET,
        token=_checked(token or os.environ.get("MALHA_TOKEN") or _stored_token()),
        tls=tls or ca is not None,
        root_certificates=None if ca is None else Path(ca).read_bytes(),
        timeout_seconds=timeout_seconds,
    )


def data_directory() -> Path:
    """MALHA_DATA_DIR, else malha/ in XDG_DATA_HOME, else ~/.local/share/malha."""
    if own := os.environ.get("MALHA_DATA_DIR"):
        return Path(own).expanduser()
    shared = os.environ.get("XDG_DATA_HOME")
    return (Path(shared) if shared else Path.home() / ".local" / "share") / "malha"


def _stored_token() -> str:
    path = data_directory() / "token"
    try:
        token = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise TokenMissing(
            f"no token: none was given, MALHA_TOKEN is not set, and there is no file {path}. "
            "`malha up` makes one; or pass token=... or set MALHA_TOKEN.",
            reason="TOKEN_MISSING",
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise TokenMissing(f"the token file {path} cannot be read: {type(error).__name__}", reason="TOKEN_UNREADABLE") from error
    return token


def _checked(token: str) -> str:
    """A token is sent as a header: visible ASCII. gRPC would print it in its own complaint."""
    token = token.strip()
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise InvalidRequest("the token is not one: it must be visible ASCII characters, without spaces", reason="TOKEN_MALFORMED")
    return token
