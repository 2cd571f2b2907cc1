"""Numbers and sends a call's events: durable ones only once they are stored, where there is a store."""

from typing import Any

from malha.api.audio.v1 import audio_pb2 as api
from malha.api.insight.v1 import insight_pb2
from malha.audio.call import Call
from malha.audio.events import Ack, CallEvent, Figures, Gap, Segment
from malha.audio.insights import CallInsights
from malha.audio.messages import event_fields, summary_message
from malha.audio.progress import Progress
from malha.audio.stored import CLOSED, FINISHED, INSIGHT, SUMMARY, closed_body, event_body, insight_body, segment_row, summary_body
from malha.runtime.stream import Stream
from malha.store.ledger import Entry, Ledger
from malha.store.session_updates import StoredEvent

AudioStream = Stream[api.StreamRequest, api.StreamResponse]


class Teller:
    """Tells one call's client. Without a ledger durable events are told at once: they last as long as the process."""

    def __init__(self, stream: AudioStream) -> None:
        self.ledger: Ledger[Progress] | None = None
        self.insights: CallInsights | None = None
        """Where the call wants some: it learns of finals once they are told."""
        self._stream = stream
        self._seq = 0

    def opened(self, message: api.Opened) -> None:
        """The first event."""
        self._stream.emit(api.StreamResponse(opened=message))

    async def again(self, response: api.StreamResponse) -> None:
        """An event that was stored before the client was lost. There may be many: each waits for room."""
        await self._stream.send(response)

    def tell(self, event: CallEvent, position: int) -> None:
        """Send an event; finals and gaps are durable and get a number."""
        if isinstance(event, Segment) and not event.final:
            self._stream.emit(api.StreamResponse(position=position, **event_fields(event)), partial_of=event.id)
        elif isinstance(event, Segment):
            self._stream.retract(event.id)
            self._durable(position, *event_body(event), event_fields(event), event)
        elif isinstance(event, Gap):
            self._durable(position, *event_body(event), event_fields(event))
        else:
            self._stream.emit(api.StreamResponse(position=position, **event_fields(self._stored(event))))

    def advise(self, insight: insight_pb2.Insight, position: int) -> None:
        """Send advice."""
        self._durable(position, INSIGHT, insight_body(insight), {"insight": insight})

    def save(self) -> None:
        """Store how far the call is: whoever takes it over must know what its client said of it."""
        if self.ledger is not None:
            self.ledger.save()

    def finish(self, call: Call, figures: Figures) -> None:
        """Tell the call's figures, and that it is over."""
        position, dropped = call.received_through, self._stream.dropped_partials
        summary = {"summary": summary_message(figures, dropped)}
        self._durable(position, SUMMARY, summary_body(figures, dropped), summary)
        closed = {"closed": api.Closed(reason=api.CLOSE_REASON_FINISHED)}
        self._durable(position, CLOSED, closed_body(FINISHED), closed, last=True)

    def _stored(self, event: CallEvent) -> CallEvent:
        """An ack lets go of no audio whose finals are not stored yet, and of none before anything is: nobody else would know of it."""
        ledger = self.ledger
        if not isinstance(event, Ack) or ledger is None:
            return event
        known = ledger.stored
        if known is None:
            if event.keep_from:
                ledger.save()
            return Ack(event.received_through, 0, 0)
        if ledger.idle:
            return event
        return Ack(event.received_through, known.position, known.frame)

    def _durable(
        self,
        position: int,
        kind: str,
        body: dict[str, Any],
        fields: dict[str, Any],
        segment: Segment | None = None,
        *,
        last: bool = False,
    ) -> None:
        if self.ledger is None:
            self._seq += 1
            self._tell_durable(api.StreamResponse(seq=self._seq, position=position, **fields), segment)
            return
        seq = self.ledger.next_seq()
        response = api.StreamResponse(seq=seq, position=position, **fields)
        segment_id, revision = (segment.id, segment.revision) if segment is not None else (None, None)
        event = StoredEvent(seq, kind, body, segment_id, revision, position)
        row = segment_row(segment) if segment is not None else None
        self.ledger.append(Entry(event, lambda: self._tell_durable(response, segment), row, last))

    def _tell_durable(self, response: api.StreamResponse, segment: Segment | None) -> None:
        self._stream.emit(response)
        if segment is not None and not segment.relabelled and self.insights is not None:
            self.insights.said(response.transcript.segment, response.seq, segment.latency)
