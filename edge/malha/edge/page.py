"""``GET /``: says what answers here."""

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from malha.runtime.version import VERSION

_PAGE = f"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Malha</title>
<style>body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 42rem; margin: 3rem auto; padding: 0 1rem }} code {{ font-size: 0.95em }}</style>
<h1>Malha {VERSION}</h1>
<p>Live calls into text, speakers and advice. This is the edge: WebSocket and REST in front of the gRPC services.</p>
<ul>
<li><a href="/api/v1/health"><code>GET /api/v1/health</code></a>: what is serving</li>
<li><a href="/api/v1/openapi.json"><code>GET /api/v1/openapi.json</code></a>: every REST address</li>
<li><code>WebSocket /api/v1/asr/stream</code>: a live call</li>
<li><code>WebSocket /ws</code>: a shop counter's call</li>
<li><code>POST /api/v1/asr</code>: a recording, as a multipart form with <code>file</code></li>
<li><code>POST /api/v1/tts</code>: speech from text</li>
<li><code>POST /api/v1/ocr</code>: the text of a document, as a multipart form with <code>file</code></li>
<li><code>POST /v1/chat/completions</code>, <code>/v1/audio/transcriptions</code>, <code>/v1/embeddings</code>: as OpenAI has them</li>
</ul>
</html>
"""
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
}


async def page(_: Request) -> Response:
    """The endpoint."""
    return HTMLResponse(_PAGE, headers=_HEADERS)
