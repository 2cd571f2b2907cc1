"""Becomes the embedded PostgreSQL: a program of its own, which loads nothing, so that a killed server is soon back.

    python -I -S embedded_launch.py PARENT_PID UID CLUSTER SOCKET_DIRECTORY LOG POSTGRES ARGUMENT...

LOG gets what PostgreSQL says before its own log is open. Ends PostgreSQL with its parent, takes away the lock files of a server that is no more, becomes UID (-1: stays who it is), and execs.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1
_SUPERVISOR_FDS = ("MALHA_READY_FD", "MALHA_PARENT_FD")
_SOCKET_LOCK = ".s.PGSQL.5432.lock"


def main(parent: int, uid: int, cluster: str, sockets: str, log: str, command: list[str]) -> None:
    """Never returns."""
    for name in _SUPERVISOR_FDS:
        if (descriptor := os.environ.pop(name, None)) is not None:
            os.close(int(descriptor))
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    os.dup2(output, sys.stderr.fileno())
    os.close(output)
    if uid >= 0:
        os.setgroups([])
        os.setgid(uid)
        os.setuid(uid)
    _remove_stale(os.path.join(cluster, "postmaster.pid"), cluster)  # noqa: PTH118 - pathlib takes longer to load than all else here
    _remove_stale(os.path.join(sockets, _SOCKET_LOCK), cluster)  # noqa: PTH118
    if sys.platform == "linux":  # elsewhere a server whose parent was killed stays, and the next start ends it
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGINT))  # SIGINT: fast shutdown
        if os.getppid() != parent:
            sys.exit(0)
    os.execv(command[0], command)  # noqa: S606 - to become it is the point


def _remove_stale(lock: str, cluster: str) -> None:
    """PostgreSQL itself takes any process with the number in its lock file for a server: in a restarted container there always is one."""
    try:
        with open(lock) as file:  # noqa: PTH123 - as above
            pid = int(file.readline())
        if not _is_server(pid, cluster):
            os.unlink(lock)  # noqa: PTH108 - as above
    except (FileNotFoundError, ValueError):
        return


def _is_server(pid: int, cluster: str) -> bool:
    """Whether a process is, or may be, a PostgreSQL server on this cluster."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:  # noqa: PTH123 - as above
            return os.fsencode(cluster) in file.read().split(b"\0")
    except FileNotFoundError:
        return not os.path.isdir("/proc/self")  # noqa: PTH112 - without /proc PostgreSQL has to judge
    except OSError:
        return True


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4], sys.argv[5], sys.argv[6:])
