"""``malha db import-state``: state of conversations from a file, and taking it back."""
# ruff: noqa: PLC0415 - `malha --help` must be quick

import datetime as dt
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from malha.cli.output import note, print_json

if TYPE_CHECKING:  # pydantic takes longer to load than `malha --help` may
    from malha.store.settings import StoreSettings

EXAMPLES = (
    "\b\nExamples:\n  malha db import-state states.jsonl\n  malha db import-state --undo states.jsonl.receipt-20260131T100000Z\n\n"
    '\b\nA line:\n  {"conversation": "c-17", "key": "form", "value": {"step": 3}, "ttl": 86400}\n'
    "  ttl is in seconds and may be left out. The conversations must be there: malha import conversations."
)


def import_state(
    file: Annotated[Path, typer.Argument(dir_okay=False, help="JSON lines; with --undo, the receipt of an import.", show_default=False)],
    *,
    undo: Annotated[bool, typer.Option("--undo", help="Put back what was there before an import.")] = False,
    tenant: Annotated[str, typer.Option(help="Whose conversations they are.")] = "default",
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Save state of conversations from a file, all or nothing. Beside the file a receipt is left, by which it can be undone.

    Undoing leaves alone what somebody changed since.
    """
    if undo:
        told: dict[str, int | str] = {**_undo(file, tenant)}
        text = f"{told['restored']} restored, {told['removed']} removed, {told['changed_since']} left because they changed since"
    else:
        receipt = file.with_name(f"{file.name}.receipt-{dt.datetime.now(dt.UTC):%Y%m%dT%H%M%SZ}")
        counts = _import(file, receipt, tenant)
        told = {**counts, "receipt": str(receipt)}
        text = f"{counts['added']} added, {counts['replaced']} replaced"
        note(f"to undo: malha db import-state --undo {receipt}")
    if json:
        print_json(told)
    else:
        print(text)


def _import(file: Path, receipt: Path, tenant: str) -> dict[str, int]:
    from malha.cli.db import with_store
    from malha.cli.import_conversations import find_tenant
    from malha.conversation.importing import states
    from malha.conversation.settings import ConversationSettings
    from malha.store.database import Database

    given = states.read(file, ConversationSettings().conversation_state_bytes)

    async def run(settings: "StoreSettings") -> dict[str, int]:
        async with await Database.connect(settings) as database:
            await database.check()
            done = await states.import_states(database, await find_tenant(database, tenant), given, receipt)
            return {"added": done.added, "replaced": done.replaced}

    return with_store(run)


def _undo(receipt: Path, tenant: str) -> dict[str, int]:
    from malha.cli.db import with_store
    from malha.cli.import_conversations import find_tenant
    from malha.conversation.importing import states
    from malha.store.database import Database

    async def run(settings: "StoreSettings") -> dict[str, int]:
        async with await Database.connect(settings) as database:
            await database.check()
            done = await states.undo(database, await find_tenant(database, tenant), receipt)
            return {"restored": done.restored, "removed": done.removed, "changed_since": done.changed_since}

    return with_store(run)
