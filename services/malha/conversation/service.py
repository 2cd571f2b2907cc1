"""ConversationService: what outlives a call. Its methods are told by what they are about; each runs in one transaction of the caller's tenant."""

from collections.abc import Mapping

from malha.conversation.conversations import Conversations
from malha.conversation.customers import Customers
from malha.conversation.feedback import FeedbackBook
from malha.conversation.settings import ConversationSettings
from malha.conversation.states import States
from malha.conversation.sweeper import Sweeper
from malha.runtime.rpc import StreamMethod, UnaryMethod
from malha.store.database import Database


class ConversationService:
    """Serves one database, which whoever made it closes."""

    name = "malha.api.conversation.v1.ConversationService"
    engine = "postgresql"

    def __init__(self, database: Database, settings: ConversationSettings) -> None:
        self._parts = (Conversations(database), Customers(database), States(database, settings), FeedbackBook(database))
        self._sweeper = Sweeper(database, settings.conversation_sweep_seconds)

    async def start(self) -> None:
        """Begin to clean up."""
        self._sweeper.start()

    async def close(self) -> None:
        """Stop cleaning up."""
        await self._sweeper.close()

    def methods(self) -> Mapping[str, StreamMethod | UnaryMethod]:
        return {name: method for part in self._parts for name, method in part.methods().items()}
