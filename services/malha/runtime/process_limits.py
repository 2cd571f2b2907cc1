"""Bounds of a worker process that decodes what callers send."""

import math
import resource


def limit_process(memory_bytes: int, cpu_seconds: int) -> None:
    """Bound the calling process: address space in all, and CPU time from now on.

    Past the first, allocations fail (MemoryError); past the second, the process is killed by SIGXCPU. May be called again for the next file.
    """
    used = resource.getrusage(resource.RUSAGE_SELF)
    for limit, value in (
        (resource.RLIMIT_AS, memory_bytes),
        (resource.RLIMIT_CPU, math.ceil(used.ru_utime + used.ru_stime) + cpu_seconds),
    ):
        _, hard = resource.getrlimit(limit)
        resource.setrlimit(limit, (value if hard == resource.RLIM_INFINITY else min(value, hard), hard))
