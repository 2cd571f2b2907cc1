from malha.sdk._controls import Controls
from malha.sdk._gen.malha.api.audio import v1 as audio


def mute(muted, channel=None):
    return audio.StreamRequest(control=audio.Control(mute=audio.Mute(channel=channel, muted=muted)))


def hold(on_hold):
    return audio.StreamRequest(control=audio.Control(hold=audio.Hold(on_hold=on_hold)))


def keys(digits):
    return audio.StreamRequest(control=audio.Control(dtmf=audio.Dtmf(digits=digits)))


FLUSH = audio.StreamRequest(control=audio.Control(flush=audio.Flush()))
LIKED = audio.StreamRequest(feedback=audio.Feedback(insight_id="i", action=audio.FeedbackAction.USED))


def controls(*said, fresh=True):
    made = Controls(fresh=fresh)
    for position, request in said:
        made.add(position, request)
    return made


def test_nothing_said_is_nothing_to_say_again():
    assert controls().since(0) == []


def test_what_steers_is_said_again_in_place_with_the_state_before_it():
    made = controls((100, mute(True)), (200, mute(False)), (300, hold(True)), (400, hold(False)))
    made.forget(10_000, 0)
    state = [(150, mute(True)), (150, hold(False))]
    assert made.since(150) == [*state, (200, mute(False)), (300, hold(True)), (400, hold(False))]


def test_a_mute_that_was_said_long_ago_is_still_said():
    """The server may have stored nothing since: it must not listen to who is muted."""
    made = controls((100, mute(True)))
    made.forget(9_000, 8_000)
    assert made.since(8_500) == [(8_500, mute(True)), (8_500, hold(False))]


def test_the_state_outlives_what_acks_let_go_of():
    made = controls((100, mute(True)), (100, mute(False, channel=1)), (200, hold(True)), (900, hold(False)))
    made.forget(950, 800)
    assert made.since(850) == [(850, mute(True)), (850, mute(False, channel=1)), (850, hold(True)), (900, hold(False))]


def test_what_is_said_of_all_channels_takes_the_place_of_what_was_said_of_one():
    made = controls((100, mute(True, channel=1)), (200, mute(False)), (300, mute(True, channel=0)), (400, mute(False, channel=0)))
    assert made.since(350) == [(350, mute(False)), (350, mute(True, channel=0)), (350, hold(False)), (400, mute(False, channel=0))]


def test_of_a_call_that_another_process_began_only_what_was_said_here_is_known():
    made = controls((100, mute(True, channel=0)), (200, mute(False, channel=0)), fresh=False)
    assert made.since(150) == [(150, mute(True, channel=0)), (200, mute(False, channel=0))]
    assert made.since(50) == [(100, mute(True, channel=0)), (200, mute(False, channel=0))]


def test_keys_and_feedback_are_said_again_only_where_no_ack_covers_them():
    made = controls((100, keys("1")), (200, LIKED), (200, keys("2")), (300, keys("3")))
    made.forget(200, 0)
    assert made.since(50) == [(200, LIKED), (200, keys("2")), (300, keys("3"))]
    made.forget(301, 0)
    assert made.since(50) == []


def test_a_flush_ends_the_same_utterance_again_and_says_no_state():
    made = controls((100, FLUSH), (200, FLUSH))
    made.forget(1_000, 0)
    assert made.since(150) == [(200, FLUSH)]


def test_there_is_a_bound_and_no_state_is_lost_by_it():
    made = controls((1, mute(True)), *((at, FLUSH) for at in range(10_000)), (20_000, mute(False)))
    again = made.since(0)
    assert len(again) == 4_096 + 2
    assert again[:2] == [(0, mute(True)), (0, hold(False))]
    assert again[-1] == (20_000, mute(False))
