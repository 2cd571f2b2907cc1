"""ChatService: the contract's messages to questions for models, and their answers back."""

import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from malha.api.chat.v1 import chat_pb2 as api
from malha.chat.accounts import Books
from malha.chat.answering import Answerer, Chatting
from malha.chat.calls import CallContext
from malha.chat.deployments import Deployed, Models
from malha.chat.documents import Documents
from malha.chat.embedding import Embedder
from malha.chat.engine import Sampling
from malha.chat.knowledge.bases import KnowledgeBases
from malha.chat.prompts import tokens_of
from malha.chat.schema import parse_schema
from malha.chat.scrubbing import Scrubbers
from malha.chat.session import ChatStream, Session
from malha.chat.settings import ChatSettings
from malha.chat.status import get_status
from malha.runtime import logs
from malha.runtime.auth import Principal
from malha.runtime.durations import seconds
from malha.runtime.errors import FailedPrecondition, InvalidArgument, NotFound
from malha.runtime.logs import Event
from malha.runtime.rpc import StreamMethod, UnaryMethod
from malha.store.database import Database

log = logs.get("chat")

DEFAULT_PURPOSE: Final = "chat"
EMBED_PURPOSE: Final = "embed"
EMBED_SECONDS: Final = 60.0


class ChatService:
    """Serves the models of ``models.toml``. Without a database there are no conversations, knowledge bases, budgets and cache."""

    name = "malha.api.chat.v1.ChatService"

    def __init__(self, settings: ChatSettings, data_dir: Path, database: Database | None = None) -> None:
        """Raises FailedPrecondition for a models file that is wrong, or a key that is missing."""
        self._settings = settings
        self._database = database
        self.models = Models(settings, data_dir)
        self._books = Books(database, self.models)
        self._embedder = Embedder(self.models, self._books)
        self._scrubbers = Scrubbers(database)
        self._bases = KnowledgeBases(database, self._embedder, settings) if database is not None else None
        self._answerer = Answerer(settings, self.models, self._books, self._bases, self._scrubbers, database)
        self._documents = Documents(self._bases, self._scrubbers)

    @property
    def engine(self) -> str:
        """Of the default alias."""
        return self._first(self.models.file.default, DEFAULT_PURPOSE).settings.engine

    async def start(self) -> None:
        """Begin to listen for SIGHUP, to write calls, and to make vectors that are missing."""
        self.models.start()
        self._books.start()
        if self._bases is not None:
            self._bases.start()
        else:
            log.warning(Event.CHAT_UNKEPT, reason="STORE_NOT_CONFIGURED")

    async def close(self) -> None:
        """Keep and write what is left, and let the models go."""
        await self._answerer.exchanges.close()
        if self._bases is not None:
            await self._bases.close()
        await self._books.close()
        await self.models.close()

    def methods(self) -> Mapping[str, StreamMethod | UnaryMethod]:
        return {
            "Chat": StreamMethod(self.chat),
            "GetStatus": UnaryMethod(self.get_status),
            "ListModels": UnaryMethod(self.list_models),
            "Embed": UnaryMethod(self.embed),
            **self._documents.methods(),
        }

    async def chat(self, stream: ChatStream) -> None:
        """One stream, from `opened` to `closed`."""
        opening = stream.opening.open
        chat, count = await self._opened(opening, stream.principal)
        first = self._first(chat.alias, chat.purpose)
        model = first.settings.model_name or first.name
        stored = self._database is not None and stream.principal.tenant_id is not None
        opened = api.Opened(model=model, alias=chat.alias, engine=first.settings.engine, history=count, stored=stored)
        await stream.send(api.ChatResponse(opened=opened))
        await Session(stream, self._answerer, chat, self._settings, model).run()

    async def get_status(self, request: api.GetStatusRequest, principal: Principal) -> api.GetStatusResponse:
        """Where the chat of a conversation stands."""
        return await get_status(self._database, self._answerer.underway, request, principal)

    async def list_models(self, request: api.ListModelsRequest, principal: Principal) -> api.ListModelsResponse:
        """Every alias, by name. A breaker is that of the deployment an alias asks first."""
        del request, principal
        return api.ListModelsResponse(models=[self._model_message(alias) for alias in sorted(self.models.file.aliases)])

    async def embed(self, request: api.EmbedRequest, principal: Principal) -> api.EmbedResponse:
        """Vectors, by the deployment that makes them, of texts without personal data."""
        deployed = self.models.embedder
        if request.alias not in {"", self.models.file.embeddings, deployed.settings.model_name}:
            raise NotFound("there is no model for vectors of this name", reason="MODEL_NOT_FOUND")
        most = self._settings.chat_embed_bytes
        if sum(len(text.encode()) for text in request.texts) > most:
            raise InvalidArgument(
                f"the texts have more than {most:,} bytes together: send fewer", reason="TEXTS_TOO_LONG", violations={"texts": "too long"}
            )
        scrubber = await self._scrubbers.of(principal.tenant_id)
        texts = [await scrubber.text(text, "") for text in request.texts]
        context = CallContext(principal.tenant_id, EMBED_PURPOSE, self._embedder.model)
        vectors = await self._embedder.embed(texts, context, str(principal.tenant_key), EMBED_SECONDS)
        return api.EmbedResponse(
            embeddings=[api.Embedding(values=vector) for vector in vectors],
            model=deployed.settings.model_name or deployed.name,
            prompt_tokens=sum(map(tokens_of, texts)),
        )

    async def _opened(self, opening: api.Open, principal: Principal) -> tuple[Chatting, int]:
        """What holds for the stream, and how many messages of its conversation will be read."""
        purpose = opening.purpose or DEFAULT_PURPOSE
        alias = self.models.file.alias_for(opening.alias, purpose)
        if opening.knowledge_base and self._bases is None:
            raise FailedPrecondition(
                "this server keeps no knowledge base: set MALHA_DATABASE_URL, or run `malha up`", reason="STORE_NOT_CONFIGURED"
            )
        conversation: uuid.UUID | None = None
        count = 0
        if opening.conversation_id:
            conversation, count = await self._answerer.find_conversation(principal.tenant_id, opening.conversation_id)
        given = opening.parameters
        chat = Chatting(
            tenant=str(principal.tenant_key),
            tenant_id=principal.tenant_id,
            alias=alias,
            purpose=purpose,
            conversation=conversation,
            knowledge_base=opening.knowledge_base,
            sampling=_sampling(given),
            max_tokens=given.max_tokens if given.HasField("max_tokens") else None,
            schema=parse_schema(opening.response_schema),
            prompt_version=opening.prompt_version,
            timeout_seconds=seconds(opening.timeout) if opening.HasField("timeout") else None,
            cache_ttl=opening.cache_ttl.ToTimedelta() if opening.HasField("cache_ttl") else None,
            session_id=uuid.UUID(opening.session_id) if opening.session_id else None,
            language=opening.language,
        )
        return chat, count

    def _first(self, alias: str, purpose: str) -> Deployed:
        """Whom a short message would go to."""
        file = self.models.file
        return self.models.chain(file.aliases[alias].start(purpose, 0))[0]

    def _model_message(self, alias: str) -> api.Model:
        first, *others = self.models.chain(self.models.file.aliases[alias].deployment)
        return api.Model(
            alias=alias,
            model=first.settings.model_name or first.name,
            engine=first.settings.engine,
            fallbacks=[other.name for other in others],
            breaker=first.breaker.state.value,
        )


def _sampling(given: api.Parameters) -> Sampling:
    return Sampling(
        temperature=given.temperature if given.HasField("temperature") else None,
        top_p=given.top_p if given.HasField("top_p") else None,
        seed=given.seed if given.HasField("seed") else None,
        stop=tuple(given.stop),
    )
