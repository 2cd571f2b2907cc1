from dataclasses import replace

from malha.sdk import events
from malha.sdk.transcription import gather

ENGINE = events.Engine("e", "1")


def segment(name, text, *, revision=1, channel=0, start=0.0, language="en"):
    return events.Segment(name, revision, channel, "", text, start, start + 1, language=language)


async def told(*given):
    for event in given:
        yield event


async def gathered(*given):
    return await gather(told(*given))


async def test_segments_are_in_spoken_order_and_the_newest_revision_counts():
    result = await gathered(
        events.Opened("id", ENGINE, 0, ("pt",)),
        events.Partial(segment("b", "ignored")),
        events.Final(segment("b", "two", start=2.0)),
        events.Final(segment("a", "one", start=1.0)),
        events.Amended(segment("b", "TWO", revision=3, start=2.0)),
        events.Final(segment("b", "old", revision=2, start=2.0)),
        events.Final(segment("c", "", start=3.0)),
        events.Final(segment("d", "other", channel=1, start=1.0, language="pt")),
        events.CallWarning("FAILED", "m"),
        events.Summary(9.0, 3, (events.ChannelSummary(0, "agent", 2, 2.0), events.ChannelSummary(1, "", 1, 1.0))),
        events.Closed("finished"),
    )
    assert result.text == "one other TWO"
    assert result.language == "en"
    assert result.duration_seconds == 9.0
    assert [(c.channel, c.role, c.text, c.talk_seconds) for c in result.channels] == [(0, "agent", "one TWO", 2.0), (1, "", "other", 1.0)]
    assert result.engine == ENGINE
    assert [w.reason for w in result.warnings] == ["FAILED"]


async def test_where_several_engines_recognise_it_is_the_one_of_most_segments():
    other = events.Engine("o", "2", "m")
    finals = [events.Final(replace(segment(name, "t"), engine=engine)) for name, engine in (("a", None), ("b", other), ("c", other))]
    result = await gathered(events.Opened("id", ENGINE, 0, ()), *finals, events.Closed("finished"))
    assert result.engine == other


async def test_silence_is_an_empty_transcript_in_the_language_asked_for():
    result = await gathered(events.Opened("id", ENGINE, 0, ("pt-BR",)), events.Summary(4.0, 0), events.Closed("finished"))
    assert (result.text, result.segments, result.language, result.duration_seconds) == ("", (), "pt-BR", 4.0)
