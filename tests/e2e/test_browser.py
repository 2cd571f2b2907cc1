"""A page in a real browser: it has the edge speak a sentence, records it as a microphone would, and calls with it over the WebSocket."""

from collections.abc import Iterator
from typing import Any

import pytest

from malha.bench.private_server import Running, private_server

pytestmark = pytest.mark.engine("pocketsphinx", "espeak")

SENTENCE = "I want to cancel my order because the delivery was late."
CALL = """async ([token, sentence]) => {
  const spoken = await fetch('/api/v1/tts', {
    method: 'POST',
    headers: {'Authorization': 'Bearer ' + token, 'Content-Type': 'application/json'},
    body: JSON.stringify({text: sentence, language: 'en', format: 'wav'}),
  });
  if (!spoken.ok) throw new Error('tts: ' + spoken.status);
  const context = new AudioContext({sampleRate: 48000});
  await context.resume();
  const audio = await context.decodeAudioData(await spoken.arrayBuffer());
  const events = [];
  const socket = new WebSocket(location.origin.replace('http', 'ws') + '/api/v1/asr/stream', ['malha', 'bearer.' + token]);
  socket.binaryType = 'arraybuffer';
  const closed = new Promise(resolve => socket.onclose = event => resolve(event.code));
  const started = new Promise((resolve, reject) => {
    socket.onerror = () => reject(new Error('the socket failed'));
    socket.onmessage = message => {
      const event = JSON.parse(message.data);
      events.push(event);
      if (event.event === 'session_started') resolve();
      if (event.event === 'error') reject(new Error(event.reason));
    };
  });
  await new Promise(resolve => socket.onopen = resolve);
  socket.send(JSON.stringify({event: 'start', conversation_id: 'page', language: 'en', encoding: 'webm'}));
  await started;
  const sink = context.createMediaStreamDestination();
  sink.channelCount = 1;
  const source = context.createBufferSource();
  source.buffer = audio;
  source.connect(sink);
  const recorder = new MediaRecorder(sink.stream, {mimeType: 'audio/webm;codecs=opus'});
  let last = Promise.resolve();
  recorder.ondataavailable = event => last = last.then(async () => socket.send(await event.data.arrayBuffer()));
  const stopped = new Promise(resolve => recorder.onstop = resolve);
  recorder.start(100);
  source.start(context.currentTime + 0.3);
  await new Promise(resolve => source.onended = resolve);
  await new Promise(resolve => setTimeout(resolve, 700));
  recorder.stop();
  await stopped;
  await last;
  socket.send(JSON.stringify({event: 'stop'}));
  return {events, code: await closed, protocol: socket.protocol};
}"""


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    with private_server({"MALHA_TRANSCRIBE_ENGINE": "pocketsphinx"}) as running:
        yield running


def test_a_page_calls_and_reads_what_was_said(page: Any, server: Running) -> None:
    page.goto(f"{server.url}/api/v1/health")
    heard = page.evaluate(CALL, [server.token, SENTENCE])
    events = heard["events"]
    assert (heard["code"], heard["protocol"]) == (1000, "malha")
    assert [events[0]["event"], events[0]["engine"]] == ["session_started", "pocketsphinx"]
    assert [event["event"] for event in events[-2:]] == ["final_summary", "session_ended"]
    words = {word for event in events if event["event"] == "batch_processed" for word in event["segments"][0]["text"].split()}
    assert {"cancel", "order", "delivery"} <= words, words
    assert events[-2]["duration_sec"] > 2.0


def test_a_page_with_a_wrong_token_is_told_so(page: Any, server: Running) -> None:
    page.goto(f"{server.url}/api/v1/health")
    code = page.evaluate(
        """() => new Promise(resolve => {
          const socket = new WebSocket(location.origin.replace('http', 'ws') + '/api/v1/asr/stream', ['malha', 'bearer.wrong']);
          socket.onopen = () => socket.send(JSON.stringify({event: 'start', conversation_id: 'page', encoding: 'webm'}));
          socket.onclose = event => resolve(event.code);
        })"""
    )
    assert code == 4401
