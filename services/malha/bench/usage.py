"""What server processes use: CPU and memory by process id, the engines' workers apart from the process that dispatches to them."""

import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from time import perf_counter

import psutil

from malha.bench.statistics import summary

MEGABYTE = 1_000_000
LOOPS, LOOP_TURNS = 200, 10_000


@dataclass(frozen=True, slots=True)
class Usage:
    """CPU seconds since the start and resident megabytes (10^6 bytes), by process name."""

    cpu_seconds: Mapping[str, float]
    rss_mb: Mapping[str, float]


def sample(pids: Mapping[str, int]) -> Usage:
    """Measure processes now; their children count together as ``engines``. A process that is gone counts nothing."""
    cpu: dict[str, float] = {}
    rss: dict[str, float] = {}
    for name, pid in pids.items():
        try:
            process = psutil.Process(pid)
            _add(process, name, cpu, rss)
            for child in process.children(recursive=True):
                _add(child, "engines", cpu, rss)
        except psutil.NoSuchProcess:
            continue
    return Usage(cpu, rss)


def _add(process: psutil.Process, name: str, cpu: dict[str, float], rss: dict[str, float]) -> None:
    with process.oneshot():
        times = process.cpu_times()
        cpu[name] = cpu.get(name, 0.0) + times.user + times.system
        rss[name] = rss.get(name, 0.0) + process.memory_info().rss / MEGABYTE


def machine() -> dict[str, object]:
    """What the run was measured on."""
    return {
        "cpus": os.cpu_count(),
        "cpu_model": _cpu_model(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "load_average": [round(value, 2) for value in os.getloadavg()],
        "loop_us": _loop_us(),
    }


def _loop_us() -> dict[str, float | None]:
    """Ten thousand turns of an empty Python loop, in microseconds: a shared machine lends less than it names, and this tells how much less."""
    times = []
    for _ in range(LOOPS):
        begin = perf_counter()
        for _ in range(LOOP_TURNS):
            pass
        times.append((perf_counter() - begin) * 1e6)
    return summary(times, (50, 95))


def _cpu_model() -> str:
    try:
        with open("/proc/cpuinfo") as lines:  # noqa: PTH123 - a kernel interface, not a user's path
            return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.processor())
    except OSError:
        return platform.processor()
