"""Settings of Chat."""

from pathlib import Path

from pydantic import Field

from malha.runtime.settings import MalhaSettings


class ChatSettings(MalhaSettings):
    """Which models answer, and how much of a conversation they are told."""

    models_file: Path | None = Field(
        None, description="The models, their routing, prices and fallbacks, as TOML. Default: models.toml in the data directory, if there."
    )
    chat_base_url: str = Field("", description="An OpenAI-compatible server, such as http://127.0.0.1:8100/v1; used without a models file.")
    chat_model: str = Field("", description="The model to ask there. Empty: the first it lists.")
    chat_api_key_file: Path | None = Field(None, description="File with the key of that server, readable by its owner alone.")
    chat_history_messages: int = Field(40, ge=0, le=1000, description="Messages of a conversation that a model is told, at most.")
    chat_history_tokens: int = Field(3000, ge=0, description="Tokens of history that a model is told, at most.")
    chat_waiting_messages: int = Field(16, ge=1, description="Messages of one stream that may wait for an answer.")
    chat_context_messages: int = Field(200, ge=1, description="Messages a stream keeps as context where it has no conversation.")
    chat_reader_seconds: float = Field(60.0, gt=0, description="How long a client may leave its answer unread.")
    chat_sources: int = Field(4, ge=1, le=20, description="Pieces of a knowledge base that an answer may quote.")
    chat_embed_bytes: int = Field(200_000, ge=1, description="Bytes of text that one request for vectors may have.")
    knowledge_documents: int = Field(5000, ge=1, description="Documents a knowledge base may have.")
    knowledge_bytes: int = Field(20_000_000, ge=1, description="Bytes of text a knowledge base may have.")
    knowledge_memory_bytes: int = Field(64_000_000, ge=1, description="Bytes of text that may be indexed in memory, of all tenants.")
    knowledge_retry_seconds: float = Field(
        30.0,
        gt=0,
        description="How long documents wait for their vectors, once the model that makes them was away, until it is asked again.",
    )
