"""The client without await, against a server in a loop of another thread."""

import contextlib
import gc
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from fakes.audio_server import TOKEN
from malha.sdk import Ack, AlreadyClosed, Closed, Final, InvalidRequest, MalhaSync, NotFound, Opened, Resumed, TokenMissing, Unauthenticated

SECOND = bytes(range(250)) * 128
TESTS = Path(__file__).resolve().parents[2]


@contextmanager
def served(module: str):
    """A fake server as a process: these tests have no loop of their own."""
    process = subprocess.Popen(
        [sys.executable, "-m", module], stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(TESTS)}
    )
    try:
        yield f"127.0.0.1:{int(process.stdout.readline())}"
    finally:
        process.terminate()
        process.wait(10)
        process.stdout.close()


@pytest.fixture(scope="module")
def program():
    with served("fakes.audio_server") as target:
        yield target


@pytest.fixture
def malha(program):
    with MalhaSync(program, TOKEN) as client:
        yield client


def microphone(seconds: float = 60.0):
    """A blocking source in real time."""
    for _ in range(int(seconds / 0.02)):
        yield SECOND[:640]
        time.sleep(0.02)


def threads(name: str) -> int:
    return sum(thread.name == name for thread in threading.enumerate())


def test_a_whole_call(malha):
    call = malha.live((SECOND[at : at + 640] for at in range(0, len(SECOND), 640)), language="en")
    events = list(call)
    assert [type(event) for event in events if not isinstance(event, Ack)][::3] == [Opened, Closed]
    assert events[0] == call.opened
    assert events[0].session_id == call.session_id
    assert call.last_seq == 3


def test_everything_else(malha):
    assert malha.transcribe(b"RIFF" + SECOND, language="en").text == "the end"
    assert b"".join(chunk.audio for chunk in malha.say("Bom dia", language="pt-BR")) == bytes(14)
    assert malha.synthesize("Bom dia", language="pt-BR").pcm == bytes(14)
    assert malha.models()[0].name == "tiny"
    assert [voice.name for voice in malha.voices("en")] == ["bob"]
    assert malha.health().serving


def test_controls_while_another_thread_reads(malha):
    with malha.live(microphone()) as call, ThreadPoolExecutor(1) as pool:
        iterator = iter(call)
        assert isinstance(next(iterator), Opened)
        rest = pool.submit(list, iterator)
        call.flush()
        call.mute(0)
        call.unmute(0)
        call.hold()
        call.unhold()
        call.dtmf("1")
        call.feedback("i", "shown")
        with pytest.raises(InvalidRequest):
            call.dtmf("x")
        assert call.unsaved_audio().complete
        call.finish()
        events = rest.result(10)
    assert sum(isinstance(event, Final) for event in events) == 2
    assert isinstance(events[-1], Closed)


def test_a_broken_call_goes_on_and_an_unknown_one_cannot():
    with served("fakes.resuming") as target, MalhaSync(target, TOKEN) as client:
        call = client.live(microphone(2.0))
        told = list(call)
        durable = [event.seq for event in told if event.seq]
        assert durable == list(range(1, len(durable) + 1))
        assert sum(isinstance(event, Resumed) for event in told) in {1, 2}
        assert isinstance(told[-1], Closed)
        again = list(client.resume(call.opened.resume_token, call.session_id, [], after_seq=call.last_seq - 1))
        assert [type(event) for event in again] == [Opened, Closed]
        with pytest.raises(NotFound):
            list(client.resume("token", told[0].session_id, []))


def test_break_ends_the_call_and_its_source(malha):
    stopped = threading.Event()

    def source():
        try:
            yield from microphone()
        finally:
            stopped.set()

    for event in malha.live(source()):
        if isinstance(event, Ack):
            break
    gc.collect()
    assert stopped.wait(5)


def test_errors_come_through(malha, program):
    def broken():
        yield SECOND
        raise OSError("unplugged")

    with pytest.raises(OSError, match="unplugged"):
        list(malha.live(broken()))
    with MalhaSync(program, "wrong") as stranger, pytest.raises(Unauthenticated):
        stranger.models()


def test_no_token(monkeypatch, tmp_path):
    monkeypatch.delenv("MALHA_TOKEN", raising=False)
    monkeypatch.setenv("MALHA_DATA_DIR", str(tmp_path))
    before = threads("malha-sync")
    with pytest.raises(TokenMissing):
        MalhaSync()
    assert threads("malha-sync") == before


def test_many_threads_share_a_client(malha):
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda number: malha.transcribe(bytes([number]) * 1_000).text, range(40)))
    assert results == ["the end"] * 40


async def test_within_a_running_loop(malha):
    """As in a notebook, whose thread runs a loop already."""
    assert malha.models()


def test_the_thread_ends_with_the_client(program):
    before = threads("malha-sync")
    client = MalhaSync(program, TOKEN)
    call = client.live(microphone())
    assert isinstance(next(iter(call)), Opened)
    client.close()
    client.close()
    assert threads("malha-sync") == before
    with pytest.raises(AlreadyClosed):
        client.models()
    with pytest.raises(AlreadyClosed):
        list(client.live([SECOND]))


@pytest.mark.parametrize("waits", ["for a file", "for a server"])
def test_closing_lets_go_of_the_threads_that_wait(waits, program, tmp_path):
    fifo = tmp_path / "nobody-writes.wav"
    os.mkfifo(fifo)
    client = MalhaSync(program, TOKEN)

    def wait():
        with contextlib.suppress(AlreadyClosed):
            while True:
                client.diarize(fifo) if waits == "for a file" else client.health()

    waiting = [threading.Thread(target=wait, daemon=True) for _ in range(1 if waits == "for a file" else 8)]
    for thread in waiting:
        thread.start()
    time.sleep(0.2)
    client.close()
    for thread in waiting:
        thread.join(10)
    with contextlib.suppress(OSError):  # nobody reads any more
        os.close(os.open(fifo, os.O_WRONLY | os.O_NONBLOCK))
    assert not any(thread.is_alive() for thread in waiting)


def test_a_forgotten_client_is_closed(program):
    before = threads("malha-sync")
    assert MalhaSync(program, TOKEN).models()
    gc.collect()
    assert threads("malha-sync") == before


def test_a_call_keeps_its_client(program):
    assert isinstance(list(MalhaSync(program, TOKEN).live([SECOND]))[-1], Closed)


def test_a_callback_that_would_wait_for_itself_is_told(malha):
    with pytest.raises(AlreadyClosed, match="progress"):
        malha.transcribe(SECOND, progress=lambda *_: malha.models())


def run(program: str, script: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", f"from malha.sdk import *\nSECOND = bytes(32000)\nmalha = MalhaSync({program!r}, {TOKEN!r})\n{script}"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_script_that_forgets_to_close_ends_cleanly(program):
    done = run(program, "print(malha.models()[0].name)\ncall = iter(malha.live(iter([SECOND])))\nprint(next(call).engine.name)")
    assert (done.returncode, done.stdout, done.stderr) == (0, "tiny\nfake\n", "")


def test_a_script_whose_microphone_blocks_for_ever_ends(program):
    done = run(program, "import threading\nfor e in malha.live(iter(threading.Event().wait, None)):\n    print(type(e).__name__); break")
    assert (done.returncode, done.stdout, done.stderr) == (0, "Opened\n", "")


def test_two_clients_in_a_process_are_quiet(program):
    """Two loops of grpc.aio in a process share one wake-up socket."""
    script = f"""
from threading import Thread
other = MalhaSync({program!r}, {TOKEN!r})
def work(client):
    for _ in range(20):
        assert client.transcribe(SECOND * 4).text
threads = [Thread(target=work, args=(client,)) for client in (malha, other)]
[t.start() for t in threads]; [t.join() for t in threads]
"""
    done = run(program, script)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_what_grpc_tells_after_the_end_is_no_error(program):
    """It tells a loop of the end of calls that were cancelled, sooner or later; another client's loop would print the error."""
    client = MalhaSync(program, TOKEN)
    assert client.models()
    client.close()
    loop = client._thread._loop
    assert loop.is_closed()
    loop.call_soon_threadsafe(print)


def test_a_client_is_of_one_loop(program):
    script = f"""
import asyncio
client = Malha({program!r}, {TOKEN!r})
async def first(): return len(await client.models())
async def second(): return [event async for event in client.live([SECOND])]
print(asyncio.run(first()))
for use in (first, second):
    try: asyncio.run(use())
    except RuntimeError as error: print("another event loop" in str(error))
"""
    done = run(program, script)
    assert (done.returncode, done.stdout, done.stderr) == (0, "1\nTrue\nTrue\n", "")


def test_an_interrupt_reaches_the_reader(program):
    script = f"from malha.sdk import *\nimport threading\nmalha = MalhaSync({program!r}, {TOKEN!r})\n"
    script += "for e in malha.live(iter(threading.Event().wait, None)):\n    print('open', flush=True)\n"
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "open\n"
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=20)
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()
    assert errors.strip().endswith("KeyboardInterrupt")
    assert process.returncode != 0
