"""What an edge keeps of a call, to say it again to another server."""

from hypothesis import given
from hypothesis import strategies as st

from malha.api.audio.v1 import audio_pb2 as api
from malha.edge.framing import audio_request
from malha.edge.kept import CONTAINER_BYTES, KEPT_SECONDS, MOST_ENTRIES, Kept

RATE = 16_000


def mute(channel: int | None, *, muted: bool = True) -> api.StreamRequest:
    return api.StreamRequest(control=api.Control(mute=api.Mute(channel=channel, muted=muted)))


def hold(*, on_hold: bool) -> api.StreamRequest:
    return api.StreamRequest(control=api.Control(hold=api.Hold(on_hold=on_hold)))


def insights(**said: bool) -> api.StreamRequest:
    return api.StreamRequest(control=api.Control(insights=api.InsightControl(**said)))


def controls(kept: Kept) -> list[api.StreamRequest]:
    return [request for request in again(kept) if request.WhichOneof("request") in {"control", "feedback"}]


def again(kept: Kept) -> list[api.StreamRequest]:
    return [api.StreamRequest.FromString(kept.request(number)) for number in range(kept.begin, kept.end)]


@given(st.lists(st.one_of(st.integers(1, 9_000), st.none()), max_size=50), st.data())
def test_what_an_ack_does_not_cover_is_said_again_in_its_place(said: list[int | None], data: st.DataObject) -> None:
    """``said``: pieces of audio by their size, None: a flush."""
    kept, position, all_said = Kept(RATE), 0, []
    for size in said:
        if size is None:
            kept.say(position, api.StreamRequest(control=api.Control(flush=api.Flush())))
            all_said.append((position, 0))
        else:
            kept.add((audio_request(bytes(2 * size)), position, size))
            all_said.append((position, size))
            position += size
    keep_from = data.draw(st.integers(0, position))
    kept.forget(position, keep_from, keep_from)
    expected = [(at, size) for at, size in all_said if at + size > keep_from or (size == 0 and at >= keep_from)]
    found = again(kept)
    sizes = [len(request.audio.content) // 2 for request in found]
    assert sizes == [size for _, size in expected[len(expected) - len(found) :]]
    audio = [(request.audio.position, size) for request, size in zip(found, sizes, strict=True) if request.HasField("audio")]
    assert audio == [(at, size) for at, size in expected if size]
    assert kept.keep_from == (keep_from, keep_from)


def test_controls_in_force_where_the_kept_audio_begins_come_first() -> None:
    kept, piece = Kept(RATE), audio_request(bytes(3200))
    said = (mute(0), mute(1), hold(on_hold=True), mute(0, muted=False), hold(on_hold=False))
    for number, request in enumerate(said):
        kept.say(number * 1600, request)
        kept.add((piece, number * 1600, 1600))
    assert kept.state() == []
    kept.forget(5 * 1600, 4 * 1600, 4 * 1600)
    state = [api.StreamRequest.FromString(request) for request in kept.state()]
    assert state == [mute(1), mute(0, muted=False), hold(on_hold=True)]
    assert again(kept)[0] == hold(on_hold=False)


def test_muting_all_channels_covers_what_was_said_of_single_ones() -> None:
    kept = Kept(RATE)
    for request in (mute(0), mute(1, muted=False), mute(None)):
        kept.say(0, request)
    kept.add((audio_request(bytes(3200)), 0, 1600))
    kept.forget(1600, 1600, 1600)
    assert [api.StreamRequest.FromString(request) for request in kept.state()] == [mute(None)]


def test_keys_are_never_said_twice() -> None:
    kept = Kept(RATE)
    kept.say(0, api.StreamRequest(control=api.Control(dtmf=api.Dtmf(digits="1234"))))
    assert kept.end == 0


def test_a_wish_and_feedback_are_said_again_where_no_ack_says_that_they_came() -> None:
    kept, piece, switch = Kept(RATE), audio_request(bytes(3200)), insights(enabled=False)
    wish, feedback = insights(trigger=True), api.StreamRequest(feedback=api.Feedback(insight_id="i1", action=api.FEEDBACK_ACTION_USED))
    for number, request in enumerate((wish, feedback, insights(enabled=False, trigger=True))):
        kept.say(number * 1600, request)
        kept.add((piece, number * 1600, 1600))
    assert controls(kept) == [wish, feedback, insights(enabled=False, trigger=True)]
    kept.forget(1600, 0, 0)
    assert controls(kept) == [feedback, insights(enabled=False, trigger=True)]
    kept.forget(3 * 1600, 0, 0)
    assert controls(kept) == [switch]
    kept.forget(3 * 1600, 3 * 1600, 3 * 1600)
    assert controls(kept) == []
    assert kept.state() == [switch.SerializeToString()]


def test_at_most_a_minute_is_kept() -> None:
    raw, container = Kept(RATE), Kept(0)
    for number in range(700):
        raw.add((audio_request(bytes(3200)), number * 1600, 1600))
        container.add((audio_request(bytes(9000)), number * 9000, 9000))
    assert sum(len(request.audio.content) for request in again(raw)) == KEPT_SECONDS * RATE * 2
    held = sum(len(request.audio.content) for request in again(container))
    assert CONTAINER_BYTES - 9000 < held <= CONTAINER_BYTES
    assert again(raw)[-1].audio.position == 699 * 1600


def test_a_client_that_sends_controls_and_no_audio_fills_no_memory() -> None:
    kept = Kept(RATE)
    kept.say(0, mute(1))
    for number in range(2 * MOST_ENTRIES):
        kept.say(0, hold(on_hold=number % 2 == 0))
    assert kept.end - kept.begin == MOST_ENTRIES
    assert [api.StreamRequest.FromString(request) for request in kept.state()] == [mute(1), hold(on_hold=False)]


def test_nor_does_one_that_sends_a_container_byte_by_byte() -> None:
    kept = Kept(0)
    for number in range(2 * MOST_ENTRIES):
        kept.add((audio_request(b"x"), number, 1))
    assert [request.audio.position for request in again(kept)] == list(range(MOST_ENTRIES, 2 * MOST_ENTRIES))
