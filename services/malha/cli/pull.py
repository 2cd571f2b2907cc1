"""Fetching a model with a progress bar."""

import asyncio
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from malha.models import pull as pulling
from malha.models.catalogue import Model
from malha.models.hub import HubOptions
from malha.models.store import ModelStore


def pull_model(model: Model) -> Path:
    """Make sure the model is on this machine; where it lies. Raises what `malha.models.pull.pull` raises."""
    columns = (TextColumn(model.name), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(model.name, total=model.size_bytes)

        def advance(so_far: pulling.Progress) -> None:
            progress.update(task, completed=so_far.done_bytes, total=so_far.total_bytes)

        return asyncio.run(pulling.pull(model, ModelStore(), HubOptions.from_environment(), progress=advance))
