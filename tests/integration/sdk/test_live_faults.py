"""What happens when something breaks: the caller's audio, the caller's loop, the server, the network between."""

import asyncio
import contextlib
import gc
import os
import signal
import sys
from pathlib import Path

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2

from fakes.audio_server import TOKEN, error_info, polite, serving
from malha.sdk import (
    Ack,
    AlreadyClosed,
    Final,
    InvalidRequest,
    Malha,
    Opened,
    PermissionDenied,
    QuotaExceeded,
    ServerError,
    SessionLost,
    Unauthenticated,
    Unavailable,
    Unimplemented,
)

SECOND = bytes(range(250)) * 128
TESTS = Path(__file__).resolve().parents[2]
Code = grpc.StatusCode


async def microphone():
    """Goes on until it is stopped."""
    while True:
        yield SECOND[:3_200]
        await asyncio.sleep(0.02)


async def within(awaitable, seconds: float = 5.0):
    async with asyncio.timeout(seconds):
        return await awaitable


class BrokenError(Exception):
    pass


async def collect(events, told: list) -> None:
    async for event in events:
        told.append(event)  # noqa: PERF401 - what came before an error is kept


@pytest.mark.parametrize("blocking", [False, True])
async def test_an_error_of_the_callers_audio_cancels_the_call_and_comes_back(blocking):
    async def broken():
        yield SECOND
        raise BrokenError("unplugged")

    def broken_blocking():
        yield SECOND
        raise BrokenError("unplugged")

    async with serving() as server, Malha(server.target, TOKEN) as malha:
        with pytest.raises(BrokenError, match="unplugged"):
            async for _ in malha.live(broken_blocking() if blocking else broken()):
                pass
        await within(server.call.lost.wait())
    assert not any(request.HasField("finish") for request in server.call.requests)


async def test_audio_of_the_wrong_type_comes_back_as_a_type_error():
    async with serving() as server, Malha(server.target, TOKEN) as malha:
        with pytest.raises(TypeError, match="str"):
            async for _ in malha.live(["not bytes"]):
                pass


async def test_audio_that_ends_inside_a_frame_is_told():
    async with serving() as server, Malha(server.target, TOKEN) as malha:
        with pytest.raises(InvalidRequest, match="1 of the 2 bytes"):
            async for _ in malha.live([SECOND[:3_201]]):
                pass


@pytest.mark.parametrize("way", ["break", "error", "cancellation", "aclose", "block"])
async def test_leaving_early_cancels_the_call_at_once(way):
    async with serving() as server, Malha(server.target, TOKEN) as malha:

        async def listen():
            async for _ in malha.live(microphone()):
                if way == "break":
                    break
                if way == "error":
                    raise BrokenError

        if way in {"break", "error"}:
            with contextlib.suppress(BrokenError):
                await listen()
        elif way == "cancellation":
            task = asyncio.create_task(listen())
            await server.arrived.wait()
            await asyncio.sleep(0.05)
            task.cancel()
            with pytest.raises(asyncio.CancelledError) as kept:  # with its traceback, which refers to the iterator
                await task
            assert kept.value
        elif way == "aclose":
            call = malha.live(microphone())
            await anext(call)
            await call.aclose()
            assert [event async for event in call] == []
        else:
            async with malha.live(microphone()) as call:
                await anext(call)
        await within(server.call.lost.wait())
    assert not any(request.HasField("finish") for request in server.call.requests)


async def test_a_break_cancels_even_while_the_call_is_still_referred_to():
    async with serving() as server, Malha(server.target, TOKEN) as malha:
        call = malha.live(microphone())
        async for _ in call:
            break
        await within(server.call.lost.wait())
        with pytest.raises(AlreadyClosed):
            await call.flush()


async def test_closing_the_client_ends_its_calls():
    async with serving() as server:
        malha = Malha(server.target, TOKEN)
        call = malha.live(microphone())
        assert isinstance(await anext(call), Opened)
        await malha.close()
        assert [event async for event in call] == []
        await within(server.call.lost.wait())
        with pytest.raises(AlreadyClosed):
            await malha.models()
        with pytest.raises(AlreadyClosed):
            await anext(malha.live(microphone()))


@pytest.mark.parametrize("what", ["transcribe", "diarize", "read", "synthesize"])
async def test_closing_the_client_ends_what_is_told_whole_as_an_error(what):
    """And not as a result that has only what came until then."""
    async with serving() as server:
        malha = Malha(server.target, TOKEN)

        async def whole():
            return await getattr(malha, what)(endless())

        async def endless():
            await asyncio.Event().wait()
            yield

        task = asyncio.create_task(whole())
        while not malha._streams:
            await asyncio.sleep(0)
        await malha.close()
        with pytest.raises(AlreadyClosed):
            await within(task)


async def test_closing_the_client_is_told_to_who_waits_for_an_answer():
    """Not as a cancellation, which nobody asked for."""

    async def mute(_, writer):
        reached.set()
        await closing.wait()
        writer.close()

    reached, closing = asyncio.Event(), asyncio.Event()
    server = await asyncio.start_server(mute, "127.0.0.1", 0)
    malha = Malha(f"127.0.0.1:{server.sockets[0].getsockname()[1]}", TOKEN)
    task = asyncio.create_task(malha.models())
    try:
        await within(reached.wait())
        await malha.close()
        with pytest.raises(AlreadyClosed):
            await within(task)
    finally:
        closing.set()
        server.close()
        await server.wait_closed()


async def test_closing_the_client_does_not_wait_for_a_call_that_ends_meanwhile():
    """Its audio is still being closed, which may take its time."""

    async def slow_to_close():
        try:
            yield SECOND
            await asyncio.Event().wait()
        finally:
            closing.set()
            await let_go.wait()

    async def ends(call):
        await call.read()
        await call.opened()
        await call.read()
        await call.close()

    closing, let_go = asyncio.Event(), asyncio.Event()
    async with serving(ends) as server:
        malha = Malha(server.target, TOKEN)
        told = []
        task = asyncio.create_task(collect(malha.live(slow_to_close()), told))
        await within(closing.wait())
        leaving = asyncio.create_task(malha.close())
        await asyncio.sleep(0)
        let_go.set()
        await within(leaving)
        await within(task)


async def test_no_task_is_left_behind():
    async with serving() as server, Malha(server.target, TOKEN) as malha:
        before = len(asyncio.all_tasks())
        for _ in range(5):
            async for _ in malha.live(microphone()):
                break
        async with asyncio.timeout(5):
            while len(asyncio.all_tasks()) > before:
                await asyncio.sleep(0.01)
        gc.collect()


async def test_a_cancelled_control_does_not_cancel_the_call():
    async with serving() as server, Malha(server.target, TOKEN) as malha, malha.live(microphone()) as call:
        assert isinstance(await anext(call), Opened)
        task = asyncio.create_task(call.flush())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        async with asyncio.timeout(10):
            async for event in call:
                if isinstance(event, Final):
                    break
        assert not server.call.lost.is_set()


@pytest.mark.parametrize(
    ("code", "details", "kind"),
    [
        (Code.PERMISSION_DENIED, [error_info("FOREIGN_TENANT")], PermissionDenied),
        (Code.UNIMPLEMENTED, [error_info("NOT_BUILT")], Unimplemented),
        (Code.INTERNAL, [error_info("BUG")], ServerError),
        (Code.UNAVAILABLE, [error_info("DRAINING")], Unavailable),
        (
            Code.RESOURCE_EXHAUSTED,
            [error_info("CALLS"), error_details_pb2.RetryInfo(retry_delay=Duration(seconds=3))],
            QuotaExceeded,
        ),
    ],
)
async def test_a_refusal_at_open_is_an_error_and_takes_no_audio(code, details, kind):
    taken = []

    async def source():
        taken.append(True)
        yield SECOND

    async def refuse(call):
        await call.read()
        await call.abort(code, "not today", *details)

    async with serving(refuse) as server, Malha(server.target, TOKEN) as malha:
        with pytest.raises(kind, match="not today") as caught:
            async for _ in malha.live(source()):
                pass
    assert type(caught.value) is kind
    assert caught.value.reason == details[0].reason
    assert caught.value.retry_after_seconds == (3.0 if kind is QuotaExceeded else None)
    assert not taken


async def test_a_wrong_token():
    async with serving() as server, Malha(server.target, "wrong") as malha:
        with pytest.raises(Unauthenticated) as caught:
            async for _ in malha.live(microphone()):
                pass
        assert caught.value.reason == "UNKNOWN_TOKEN"
        assert "wrong" not in str(caught.value)
        with pytest.raises(Unauthenticated):
            await malha.models()


async def test_nobody_there():
    async with Malha("127.0.0.1:9", TOKEN) as malha:
        with pytest.raises(Unavailable, match=r"127\.0\.0\.1:9.*malha up"):
            async for _ in malha.live(microphone()):
                pass


def breaking(code: Code, *details):
    """Opens, takes a second, tells a final, acks half of it, and breaks."""

    async def behave(call):
        await call.read()
        await call.opened(resume_token="take-me-up")
        for _ in range(10):
            await call.read()
        await call.final("half a second")
        await call.ack(16_000, 8_000)
        await call.abort(code, "broken", *details)

    return behave


@pytest.mark.parametrize(
    ("code", "reason", "resumable"),
    [
        (Code.UNAVAILABLE, "", True),
        (Code.CANCELLED, "", True),
        (Code.INTERNAL, "", True),
        (Code.UNKNOWN, "", True),
        (Code.ABORTED, "READER_SLOW", True),
        (Code.RESOURCE_EXHAUSTED, "READER_SLOW", True),
        (Code.ABORTED, "SESSION_MOVED", False),
    ],
)
async def test_a_lost_call_carries_what_is_needed_to_go_on(code, reason, resumable):
    async with serving(breaking(code, *([error_info(reason)] if reason else []))) as server, Malha(server.target, TOKEN) as malha:
        call = malha.live(microphone(), resume=False)
        told = []
        with pytest.raises(SessionLost) as caught:
            await collect(call, told)
    assert [type(event) for event in told] == [Opened, Final, Ack]
    lost = caught.value
    assert (lost.session_id, lost.last_seq, lost.resumable, lost.resume_token) == (call.session_id, 1, resumable, "take-me-up")
    assert lost.reason == reason
    assert lost.unsaved.position == 8_000
    assert lost.unsaved.content[:16_000] == (SECOND[:3_200] * 5)[:16_000]
    assert "take-me-up" not in str(lost)


async def test_a_lost_call_of_a_container_carries_its_header():
    recording = bytes(range(256)) * 1_000

    async def breaks(call):
        await call.read()
        await call.opened(clock_rate=0)
        await call.read()
        await call.ack(200_000, 100_000)
        await call.abort(Code.UNAVAILABLE, "gone")

    async with serving(breaks) as server, Malha(server.target, TOKEN) as malha:
        with pytest.raises(SessionLost) as caught:
            await collect(malha.live([recording], encoding="webm"), [])
    unsaved = caught.value.unsaved
    assert (unsaved.header, unsaved.position, unsaved.content) == (recording[:65_536], 100_000, recording[100_000:])


async def test_a_defect_of_the_server_is_not_called_a_lost_connection():
    async with serving(breaking(Code.INTERNAL, error_info("BUG"))) as server, Malha(server.target, TOKEN) as malha:
        with pytest.raises(ServerError, match="broken"):
            async for _ in malha.live(microphone()):
                pass


async def test_the_end_without_closed_is_not_taken_for_success():
    async def quits(call):
        await call.read()
        await call.opened()

    async with serving(quits) as server, Malha(server.target, TOKEN) as malha:
        with pytest.raises(ServerError) as caught:
            async for _ in malha.live(microphone()):
                pass
    assert caught.value.reason == "ENDED_EARLY"


async def test_a_server_killed_mid_call():
    environment = {**os.environ, "PYTHONPATH": str(TESTS)}
    server = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "fakes.audio_server", stdout=asyncio.subprocess.PIPE, env=environment
    )
    try:
        port = int(await within(server.stdout.readline(), 30))
        async with Malha(f"127.0.0.1:{port}", TOKEN) as malha:
            call = malha.live(microphone())

            async def listen():
                async for event in call:
                    if isinstance(event, Ack) and server.returncode is None:
                        server.send_signal(signal.SIGKILL)

            with pytest.raises(SessionLost) as caught:
                await within(listen(), 30)
            assert caught.value.resumable
            assert caught.value.session_id == call.session_id
            assert caught.value.unsaved.content
    finally:
        if server.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                server.kill()
        await server.wait()


async def test_events_before_an_error_are_told():
    async def many(call):
        await call.read()
        await call.opened()
        for number in range(600):
            await call.final(str(number))
        await call.abort(Code.UNAVAILABLE, "gone")

    async with serving(many) as server, Malha(server.target, TOKEN) as malha:
        told = []
        with pytest.raises(SessionLost) as caught:
            await collect(malha.live(microphone()), told)
    assert [event.text for event in told[1:]] == [str(number) for number in range(600)]
    assert caught.value.last_seq == 600


async def test_the_status_survives_a_write_that_meets_it():
    """grpc.aio alone makes INTERNAL of it about every second time, and drops the responses not yet read."""

    async def quit_while_audio_comes(call):
        await call.read()
        await call.opened()
        await call.read()
        for number in range(5):
            await call.final(str(number))
        await call.abort(Code.RESOURCE_EXHAUSTED, "behind", error_info("READER_SLOW"))

    async def torrent():
        while True:
            yield SECOND
            await asyncio.sleep(0)

    async with serving(quit_while_audio_comes) as server, Malha(server.target, TOKEN) as malha:
        for _ in range(40):
            told = []
            with pytest.raises(SessionLost) as caught:
                await collect(malha.live(torrent()), told)
            assert caught.value.reason == "READER_SLOW"
            assert [event.text for event in told[1:]] == list("01234")


async def test_a_slow_reader_holds_the_server_back():
    """The events wait in the server, which may drop partials; not without bound in this process."""
    sent = []

    async def flood(call):
        await call.read()
        await call.opened()
        for number in range(1_500):
            await call.final("x" * 4_000)
            sent.append(number)
        await call.close()

    async with serving(flood) as server, Malha(server.target, TOKEN) as malha, malha.live(microphone()) as call:
        await anext(call)
        await asyncio.sleep(0.5)
        held = len(sent)
        assert held < 1_000
        count = 0
        async for _ in call:
            count += 1
    assert count == 1_500 + 2


async def test_a_response_that_is_not_of_the_contract():
    left = asyncio.Event()

    async def foreign(_, context):
        try:
            await context.write(b"\x1a\x03\x0a\x01\xff")  # opened.session_id, not UTF-8
            await asyncio.Event().wait()
        finally:
            left.set()

    handlers = {"Stream": grpc.stream_stream_rpc_method_handler(foreign)}
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("malha.api.audio.v1.AudioStreamService", handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with Malha(f"127.0.0.1:{port}", TOKEN) as malha:
            with pytest.raises(ServerError) as caught:
                async for _ in malha.live(microphone()):
                    pass
            await within(left.wait())
    finally:
        await server.stop(None)
    assert caught.value.reason == "MALFORMED_RESPONSE"


async def test_a_loop_that_ends_with_an_open_call_does_not_hang():
    """asyncio.run cancels what is left; the events queue is full and nobody reads."""
    program = """
import asyncio
from fakes.audio_server import TOKEN, serving
from malha.sdk import Malha

async def flood(call):
    await call.read()
    await call.opened()
    for _ in range(2000):
        await call.final("x")

async def main():
    async with serving(flood) as server:
        malha = Malha(server.target, TOKEN)
        call = malha.live([bytes(3200)])
        await anext(call)
        await asyncio.sleep(0.3)
        raise SystemExit(7)

asyncio.run(main())
"""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, env={**os.environ, "PYTHONPATH": str(TESTS)}, stderr=asyncio.subprocess.PIPE
    )
    try:
        _, errors = await within(process.communicate(), 30)
    finally:
        if process.returncode is None:
            process.kill()
    assert process.returncode == 7
    assert b"malha" not in errors, "grpc.aio may tell of the fake server's own end; of the client there is nothing to tell"
    assert b"was destroyed" not in errors


async def test_another_call_after_a_restart_of_the_server():
    """The channel comes back within its back-off of 250 ms."""
    async with serving() as first:
        port = first.port
        malha = Malha(first.target, TOKEN)
        assert (await malha.models())[0].name == "tiny"
    with pytest.raises(Unavailable):
        async for _ in malha.live([SECOND]):
            pass
    async with serving(polite, port=port):
        async with asyncio.timeout(10):
            while True:
                try:
                    events = [event async for event in malha.live([SECOND], pace="batch")]
                    break
                except Unavailable:
                    await asyncio.sleep(0.05)
        await malha.close()
    assert events
