"""The embedded PostgreSQL: kept alive by `malha up`, or up for as long as a command needs it. Real, durable, and for one machine."""

import asyncio
import contextlib
import fcntl
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Final, Self, TextIO

import asyncpg
import psutil

from malha.runtime.errors import FailedPrecondition, Unavailable
from malha.runtime.supervisor import ChildSpec
from malha.store.embedded_cluster import DATABASE, OWNER_LOGIN, SERVICE_LOGIN, Cluster, load, prepare, program
from malha.store.failures import DATABASE_ERRORS, is_away
from malha.store.revision import HEAD
from malha.store.roles import Connection
from malha.store.settings import StoreSettings

NAME: Final = "postgres"
_LAUNCHER: Final = Path(__file__).with_name("embedded_launch.py")
_OPTIONS: Final[Mapping[str, str]] = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "200",
    "shared_buffers": "64MB",
    "max_wal_size": "512MB",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_parallel_workers_per_gather": "0",  # two cores have better things to do
    "jit": "off",
    "timezone": "UTC",
    # A message of level ERROR and what caused it may quote a user.
    "log_min_messages": "log",
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
    "log_checkpoints": "off",
    "logging_collector": "on",
    "log_filename": "postgres-%a.log",
    "log_rotation_age": "1d",
    "log_truncate_on_rotation": "on",
}
_READY_SECONDS: Final = 300.0
"""After a crash PostgreSQL replays its log first."""
_STOP_SECONDS: Final = 30.0
_ORPHAN_SECONDS: Final = 15.0
_POLL_SECONDS: Final = 0.02
_LOCK_ATTEMPTS: Final = 5
_CONNECT_SECONDS: Final = 10.0


class EmbeddedPostgres:
    """The PostgreSQL of a data directory, held by one process at a time."""

    def __init__(self, cluster: Cluster, lock: TextIO, options: Mapping[str, str]) -> None:
        self._cluster = cluster
        self._lock = lock
        self._options = options

    @classmethod
    def take(cls, data_directory: Path, options: Mapping[str, str] | None = None) -> Self:
        """Make the cluster if there is none, and hold it until `release`. Blocks for about two seconds the first time.

        ``options`` are PostgreSQL's, on top of ours. Raises FailedPrecondition if another process holds it, and as `prepare` does.
        """
        root = _root(data_directory)
        cluster = prepare(root)
        lock = _lock(root / "lock")
        try:
            _end_orphan(cluster)
        except BaseException:
            lock.close()
            raise
        return cls(cluster, lock, options or {})

    def release(self) -> None:
        """Let another process take it."""
        self._lock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    @property
    def settings(self) -> StoreSettings:
        """Where services and migrations connect."""
        return _settings(self._cluster)

    @property
    def environment(self) -> dict[str, str]:
        """What a child needs to use it: the services' login, which cannot migrate."""
        return {"MALHA_DATABASE_URL": self._cluster.url(SERVICE_LOGIN)}

    def spec(self) -> ChildSpec:
        """How the supervisor of this process runs it. It is ready when its schema is this version's."""
        cluster = self._cluster
        options = {**_OPTIONS, "log_directory": str(cluster.logs), "unix_socket_directories": str(cluster.sockets), **self._options}
        command = [str(program("postgres")), "-D", str(cluster.directory)]
        for name, value in options.items():
            command += ["-c", f"{name}={value}"]
        uid = -1 if cluster.runner.uid is None else cluster.runner.uid
        places = (str(cluster.directory), str(cluster.sockets), str(cluster.logs / "start.log"))
        launch = (sys.executable, "-I", "-S", str(_LAUNCHER), str(os.getpid()), str(uid), *places)
        return ChildSpec(
            NAME,
            (*cluster.runner.prefix, *launch, *command),
            stop_seconds=_STOP_SECONDS,
            ready_seconds=_READY_SECONDS,
            ready=self.ready,
            stop_signal=signal.SIGINT,
        )

    async def ready(self) -> Mapping[str, str]:
        """Wait until it answers, and bring its schema up to date."""
        while True:
            try:
                revision = await self._revision()
                break
            except DATABASE_ERRORS as error:
                if not is_away(error):
                    raise
            await asyncio.sleep(_POLL_SECONDS)
        if revision != HEAD:
            from malha.store import migrate  # noqa: PLC0415 - Alembic is loaded where there is something to do

            await migrate.upgrade(self.settings)
        return {"directory": str(self._cluster.directory)}

    async def _revision(self) -> str | None:
        """The schema's revision; None: there is none. Makes the database if it is missing."""
        try:
            async with _connected(self._cluster.url(OWNER_LOGIN)) as connection:
                if await connection.fetchval("SELECT to_regclass('public.schema_revision')") is None:
                    return None
                revision: str | None = await connection.fetchval("SELECT version_num FROM public.schema_revision")
                return revision
        except asyncpg.InvalidCatalogNameError:
            async with _connected(self._cluster.url(OWNER_LOGIN, "postgres")) as connection:
                await connection.execute(f"CREATE DATABASE {DATABASE}")
            return None


@contextlib.asynccontextmanager
async def running(data_directory: Path, options: Mapping[str, str] | None = None) -> AsyncIterator[StoreSettings]:
    """The embedded PostgreSQL, started for as long as this is entered; the one that `malha up` runs on this directory, if it does."""
    if (held := running_settings(data_directory)) is not None:
        yield held
        return
    with await asyncio.to_thread(EmbeddedPostgres.take, data_directory, options) as embedded:
        spec = embedded.spec()
        process = await asyncio.create_subprocess_exec(*spec.command, stdin=asyncio.subprocess.DEVNULL, start_new_session=True)
        ended, ready = asyncio.create_task(process.wait()), asyncio.create_task(embedded.ready())
        try:
            await asyncio.wait((ended, ready), timeout=_READY_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            if not ready.done():
                raise Unavailable(
                    f"the embedded PostgreSQL does not start: see {_root(data_directory) / 'log'}", reason="STORE_UNAVAILABLE"
                )
            ready.result()
            yield embedded.settings
        finally:
            ready.cancel()
            await asyncio.wait([ready])
            await _end(process, ended)


def running_settings(data_directory: Path) -> StoreSettings | None:
    """Where to connect to the embedded PostgreSQL that another process runs on this directory; None: none does."""
    root = _root(data_directory)
    try:
        with (root / "lock").open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        cluster = load(root)
        return None if cluster is None else _settings(cluster)
    except FileNotFoundError:
        return None
    return None


def _root(data_directory: Path) -> Path:
    return data_directory.absolute() / "postgres"


def _settings(cluster: Cluster) -> StoreSettings:
    return StoreSettings(database_url=cluster.url(SERVICE_LOGIN), database_direct_url="", database_owner_url=cluster.url(OWNER_LOGIN))


def _lock(path: Path) -> TextIO:
    """An open, locked file. The lock ends with the process that holds it. Raises FailedPrecondition if another one does."""
    file = path.open("a+")
    for attempt in range(_LOCK_ATTEMPTS):  # one who only asks, in `running_settings`, is gone at once
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError as error:
            if attempt == _LOCK_ATTEMPTS - 1:
                file.seek(0)
                holder = file.read().strip()
                file.close()
                raise FailedPrecondition(
                    f"another malha (process {holder}) runs the PostgreSQL in {path.parent}: stop it, or set MALHA_DATA_DIR to another"
                    " directory",
                    reason="STORE_HELD",
                ) from error
        time.sleep(_POLL_SECONDS)
    file.truncate(0)
    file.write(str(os.getpid()))
    file.flush()
    return file


def _end_orphan(cluster: Cluster) -> None:
    """A server whose `malha up` was killed is ending by itself, or is told to; wait for it."""
    for process in _servers(cluster):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGINT)
            try:
                process.wait(_ORPHAN_SECONDS)
            except psutil.TimeoutExpired as error:
                raise FailedPrecondition(
                    f"a PostgreSQL server (process {process.pid}) still runs on {cluster.directory} and does not end: kill {process.pid}",
                    reason="STORE_HELD",
                ) from error


def _servers(cluster: Cluster) -> Iterator[psutil.Process]:
    """The server that runs on a cluster, if its lock file tells of one and it is one."""
    with contextlib.suppress(OSError, ValueError, psutil.Error):
        process = psutil.Process(int((cluster.directory / "postmaster.pid").read_text().split("\n", 1)[0]))
        if str(cluster.directory) in process.cmdline():
            yield process


async def _end(process: asyncio.subprocess.Process, ended: asyncio.Task[int]) -> None:
    if not ended.done():
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGINT)
        await asyncio.wait([ended], timeout=_STOP_SECONDS)
        if not ended.done():
            process.kill()
    await ended


@contextlib.asynccontextmanager
async def _connected(url: str) -> AsyncIterator[Connection]:
    connection = await asyncpg.connect(url, timeout=_CONNECT_SECONDS)
    try:
        yield connection
    finally:
        await connection.close(timeout=_CONNECT_SECONDS)
