"""Fetching models: the licences asked about first, then each with its line and a progress bar, then what is here."""

import asyncio
import shutil
import sys
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from malha.cli.output import EXIT_FAILURE, explain, note, print_json
from malha.models import pull as pulling
from malha.models.catalogue import Model, production_models, select, with_needs
from malha.models.hub import HubOptions
from malha.models.store import ModelStore
from malha.runtime.errors import MalhaError

GIGABYTE, MEGABYTE, KILOBYTE = 1_000_000_000, 1_000_000, 1_000
UNREACHABLE = "HUB_UNREACHABLE"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one model. ``path`` is None if it is not here; ``error`` says what went wrong, if anything was tried."""

    model: Model
    path: Path | None
    error: MalhaError | None = None


def pull_model(model: Model, options: HubOptions, *, agreed: bool = False) -> Path:
    """Make sure the model is on this machine; where it lies. Raises what `malha.models.pull.pull` raises."""
    console = Console(stderr=True)
    pulling_it = partial(pulling.pull, model, ModelStore(), options, agreed=agreed)
    if not console.is_terminal:
        return asyncio.run(pulling_it())
    columns = (TextColumn(model.name), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(model.name, total=model.size_bytes)

        def advance(so_far: pulling.Progress) -> None:
            progress.update(task, completed=so_far.done_bytes, total=so_far.total_bytes)

        return asyncio.run(pulling_it(progress=advance))


def run_pull(names: Sequence[str], accepted: Sequence[str], *, json: bool) -> int:
    """Fetch the models of these names, or what production needs, and say which are here. Returns the exit status.

    A family's name stands for what production needs of it. ``accepted``: names of models whose licence was agreed to beforehand. Raises NotFound for names there are not,
    and as `HubOptions.from_environment` does.
    """
    options = HubOptions.from_environment()
    models = with_needs([model for name in names for model in select(name)] or production_models())
    agreed = _agreements(models, options, {model.name for name in accepted for model in select(name)})
    _warn_of_space(models)
    try:
        outcomes = _pull_all(models, options, agreed)
    except KeyboardInterrupt:
        note("malha: interrupted; the same command goes on from here")
        raise
    _tell(outcomes, json=json)
    codes = {explain(outcome.error)[0] for outcome in outcomes if outcome.error is not None}
    if len(codes) == 1:
        return codes.pop()
    return 0 if all(outcome.path for outcome in outcomes) else EXIT_FAILURE


def _agreements(models: Sequence[Model], options: HubOptions, accepted: Collection[str]) -> set[str]:
    """The models whose licence was agreed to, now or beforehand. It is shown in either case; asked only of a person at a terminal."""
    store = ModelStore()
    agreed = set[str]()
    for model in models:
        if not pulling.needs_agreement(model, store):
            continue
        _show_licence(model, options)
        if model.name in accepted or (sys.stdin.isatty() and _agrees()):
            agreed.add(model.name)
    return agreed


def _agrees() -> bool:
    """What the person says. Standard output stays free for what was asked of the program."""
    print("Do you agree? [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in {"y", "yes"}


def _show_licence(model: Model, options: HubOptions) -> None:
    terms = model.terms
    note(f"{model.name}: {model.title}, {shown_size(model.size_bytes)}, from {model.repository}")
    note(f"  licence     {terms.name}, {terms.title}{f': {terms.note}' if terms.note else ''}")
    note(f"  commercial  {'allowed' if terms.commercial else 'NOT allowed'}")
    note(f"  text        {terms.url}")
    if model.gated:
        endpoint = options.endpoint.rstrip("/")
        note(f"  gated       accept its conditions at {endpoint}/{model.repository} and set HF_TOKEN to a token of that account")


def _warn_of_space(models: Sequence[Model]) -> None:
    """Say beforehand that not all will fit; each pull refuses for itself what does not."""
    store = ModelStore()
    needed = sum(model.size_bytes for model in models if store.find(model.name) is None)
    place = next(path for path in (store.directory, *store.directory.absolute().parents) if path.exists())
    free = shutil.disk_usage(place).free
    if needed > free:
        note(f"malha: {shown_size(needed)} are to come, and the disk of {store.directory} has {shown_size(free)} free")


def _pull_all(models: Sequence[Model], options: HubOptions, agreed: Collection[str]) -> list[Outcome]:
    """One after another. A model that fails does not keep the others back, unless no hub is in reach."""
    store = ModelStore()
    outcomes: list[Outcome] = []
    reachable = True
    for number, model in enumerate(models, 1):
        note(f"[{number}/{len(models)}] {model.name}: {shown_size(model.size_bytes)}, {model.licence}, {model.repository}")
        if not reachable:
            outcomes.append(Outcome(model, store.find(model.name)))
            continue
        try:
            outcomes.append(Outcome(model, pull_model(model, options, agreed=model.name in agreed)))
        except MalhaError as error:
            note(f"malha: {error.message}")
            outcomes.append(Outcome(model, store.find(model.name), error))
            reachable = error.reason != UNREACHABLE
    return outcomes


def _tell(outcomes: Sequence[Outcome], *, json: bool) -> None:
    if json:
        rows = (
            {
                "name": outcome.model.name,
                "state": state(outcome.path),
                "path": str(outcome.path) if outcome.path else None,
                "problem": outcome.error.message if outcome.error else None,
            }
            for outcome in outcomes
        )
        print_json({"models": list(rows)})
        return
    for outcome in outcomes:
        print(f"{outcome.model.name}: {state(outcome.path)}")


def state(path: Path | None) -> str:
    """``present`` or ``missing``."""
    return "missing" if path is None else "present"


def shown_size(size_bytes: int) -> str:
    """``29.6 GB``, ``486 MB``, ``1 kB``."""
    if size_bytes >= GIGABYTE:
        return f"{size_bytes / GIGABYTE:.1f} GB"
    if size_bytes >= MEGABYTE:
        return f"{size_bytes / MEGABYTE:.0f} MB"
    return f"{max(1, round(size_bytes / KILOBYTE))} kB"
