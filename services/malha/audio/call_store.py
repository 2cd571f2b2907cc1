"""What keeps calls."""

from malha.audio.stored import ENDING_EVENTS, ending
from malha.store.configuration import Configurations
from malha.store.database import Database
from malha.store.group_commit import GroupCommit
from malha.store.sessions import Sessions
from malha.store.settings import StoreSettings


class CallStore:
    """What keeps calls: the sessions of this process and the writer of their events."""

    def __init__(self, database: Database, settings: StoreSettings) -> None:
        self.sessions = Sessions(database, ending, ENDING_EVENTS)
        self.writer = GroupCommit(settings)
        self.configurations = Configurations(database)

    async def start(self) -> None:
        """Begin. Raises Unavailable without a database."""
        await self.writer.__aenter__()
        await self.sessions.start()

    async def close(self) -> None:
        """Store what was asked for and end."""
        await self.sessions.close()
        await self.writer.__aexit__(None, None, None)
