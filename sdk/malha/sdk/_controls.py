"""The controls a call must be able to send again: those the server may have lost with its process."""

from collections.abc import Iterator
from dataclasses import dataclass

from malha.sdk._gen.malha.api.audio import v1 as audio

_MOST = 4_096
"""Kept controls. An ack lets go of them each second; beyond, the oldest are taken as received."""


@dataclass(frozen=True, slots=True)
class _Said:
    position: int
    """The audio before it was given to the call before it."""
    request: audio.StreamRequest

    @property
    def repeatable(self) -> bool:
        """Whether it says a state, or ends an utterance: right to say again at the same place."""
        control = self.request.control
        return _is_state(self.request) or (control is not None and control.flush is not None)


class Controls:
    """What was said beside the audio, and at which position.

    A server that takes over knows mutes and holds as they were when it last stored something, before or after the position from which it
    hears the audio again. So the state at that position is said first, and what came after it again in place. Keys and feedback would count
    twice: they are said again only where the server has not acknowledged the audio after them.
    """

    def __init__(self, *, fresh: bool) -> None:
        """``fresh``: the call began here, unmuted and not on hold; else its state before is not known."""
        self._said: list[_Said] = []
        self._state = _State(False, False) if fresh else _State(None, None)
        self._steered = False
        self._received = 0

    def add(self, position: int, request: audio.StreamRequest) -> None:
        """A control or feedback that is about to be sent."""
        self._said.append(_Said(position, request))
        self._steered = self._steered or _is_state(request)
        if len(self._said) > _MOST:
            self._drop()

    def forget(self, received_through: int, keep_from: int) -> None:
        """What an ack says."""
        self._received = max(self._received, received_through)
        while self._said and self._said[0].position < keep_from:
            self._drop()

    def since(self, position: int) -> list[tuple[int, audio.StreamRequest]]:
        """What to say again, in order, where audio is sent again from ``position`` on."""
        state = self._state.copy()
        again = []
        for said in self._said:
            if said.position < position:
                state.apply(said.request)
            elif said.repeatable or said.position >= self._received:
                again.append((said.position, said.request))
        return [*((position, request) for request in state.requests() if self._steered), *again]

    def _drop(self) -> None:
        self._state.apply(self._said.pop(0).request)


class _State:
    """Mute and hold at one position; None: not known."""

    def __init__(self, muted: bool | None, on_hold: bool | None) -> None:
        self._muted = muted
        self._channels: dict[int, bool] = {}
        self._on_hold = on_hold

    def copy(self) -> "_State":
        other = _State(self._muted, self._on_hold)
        other._channels = dict(self._channels)
        return other

    def apply(self, request: audio.StreamRequest) -> None:
        control = request.control
        if control is None:
            return
        if control.hold is not None:
            self._on_hold = control.hold.on_hold
        if control.mute is not None and control.mute.channel is None:
            self._muted, self._channels = control.mute.muted, {}
        elif control.mute is not None and control.mute.channel is not None:
            self._channels[control.mute.channel] = control.mute.muted

    def requests(self) -> Iterator[audio.StreamRequest]:
        """What says it."""
        if self._muted is not None:
            yield _mute(None, self._muted)
        for channel, muted in self._channels.items():
            yield _mute(channel, muted)
        if self._on_hold is not None:
            yield audio.StreamRequest(control=audio.Control(hold=audio.Hold(on_hold=self._on_hold)))


def _is_state(request: audio.StreamRequest) -> bool:
    control = request.control
    return control is not None and (control.mute is not None or control.hold is not None)


def _mute(channel: int | None, muted: bool) -> audio.StreamRequest:
    return audio.StreamRequest(control=audio.Control(mute=audio.Mute(channel=channel, muted=muted)))
