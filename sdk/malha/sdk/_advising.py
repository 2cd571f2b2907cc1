"""The client's part that has conversations analysed, and sets what insights are made by."""

import datetime as dt
from collections.abc import Iterable
from typing import Any

from malha.sdk import _administration as administration
from malha.sdk import insights as kept
from malha.sdk._connection import Connection
from malha.sdk._stream import EventStream
from malha.sdk.events import Insight
from malha.sdk.insights import AnalysisSettings, AnalysisSource, AnalysisStream
from malha.sdk.rules import Backtest, InsightConfiguration, InsightType, Rule


class Advising:
    """Insights, their rules and their configuration."""

    _connection: Connection
    _streams: set[EventStream[Any]]

    def analyze(
        self,
        said: AnalysisSource,
        *,
        conversation_id: str,
        language: str = "",
        types: Iterable[InsightType] = (),
        policy: str = "",
        session_id: str = "",
        alias: str = "",
    ) -> AnalysisStream:
        """Advice on a conversation as it goes: ``async for event in malha.analyze(segments, conversation_id="c1")``.

        Args:
            said: Segments in the order they were said, of a live call or a Transcription; Tick where media time goes on without words;
                InsightFeedback. A segment with the id of an earlier one amends it.
            conversation_id: The conversation.
            language: BCP 47 tag.
            types: Wanted types; none: all.
            policy: ``call_center`` (the default), ``counter``, or one of the tenant's own.
            session_id: The call's, a UUID: insights are given once for each, however often it is opened. None: one of its own.
            alias: Of the model; none: the default of each type.

        AnalysisOpened comes first, then Insight and Decision events. Raises InvalidRequest; the iteration raises what ``said`` raises, and
        MalhaError.
        """
        settings = AnalysisSettings(
            conversation_id=conversation_id, language=language, types=tuple(types), policy=policy, session_id=session_id, alias=alias
        )
        return AnalysisStream(self._connection, settings.to_message(), said, self._streams)

    async def insights(self, conversation_id: str) -> tuple[Insight, ...]:
        """What was advised in a conversation, the newest first. Raises MalhaError."""
        return await kept.insights(self._connection, conversation_id)

    async def rules(self, *, builtin: bool = False) -> tuple[Rule, ...]:
        """The tenant's rules by id; with ``builtin`` the server's own too. Raises MalhaError."""
        return await administration.rules(self._connection, builtin=builtin)

    async def rule(self, rule_id: str, *, version: int = 0) -> Rule:
        """One rule; version 0: the newest. Raises NotFound, MalhaError."""
        return await administration.rule(self._connection, rule_id, version)

    async def save_rule(self, rule: Rule) -> Rule:
        """Make a rule, or the next version of one. Raises Aborted where ``rule.version`` is not the stored one any more, MalhaError."""
        return await administration.save(self._connection, rule)

    async def delete_rule(self, rule_id: str) -> None:
        """Delete a rule; insights made by it stay. Raises NotFound, MalhaError."""
        await administration.delete(self._connection, rule_id)

    async def backtest_rule(
        self, rule: Rule, *, since: dt.datetime | None = None, until: dt.datetime | None = None, max_conversations: int = 0
    ) -> Backtest:
        """What a draft would have done in stored conversations: of the last 30 days, and the newest 1,000, unless said otherwise."""
        return await administration.backtest(self._connection, rule, since, until, max_conversations)

    async def insight_configuration(self) -> InsightConfiguration:
        """The tenant's glossary, keywords, policies, catalogue and the rest. Raises MalhaError."""
        return await administration.configuration(self._connection)

    async def update_insight_configuration(self, configuration: InsightConfiguration) -> InsightConfiguration:
        """Replace all of it; calls under way keep what they began with. Raises Aborted where ``revision`` is stale, MalhaError."""
        return await administration.update(self._connection, configuration)
