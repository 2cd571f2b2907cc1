"""Who guesses tokens is slowed down, over HTTP and over WebSockets."""

import contextlib

from conftest import TOKEN, RunningServer
from integration.edge.conftest import START, EdgeFor, talk
from websockets.exceptions import ConnectionClosed

PER_MINUTE = 60
"""An address then has 600 requests, ten more each second, and an unknown token costs 101 of them."""


async def test_over_http(server: RunningServer, edge_for: EdgeFor) -> None:
    async with edge_for(server.target, TOKEN, requests_per_minute=PER_MINUTE) as edge:
        statuses = []
        for number in range(10):
            async with edge.client(token=f"guess-{number}") as client:
                statuses.append((await client.get("/api/v1/transcribe/models")).status_code)
        assert statuses[:5] == [401] * 5
        assert 429 in statuses


async def test_a_second_header_hides_no_guess(server: RunningServer, edge_for: EdgeFor) -> None:
    async with edge_for(server.target, TOKEN, requests_per_minute=PER_MINUTE) as edge, edge.client(token="") as client:
        statuses = []
        for number in range(10):
            headers = [("Authorization", f"Bearer guess-{number}"), ("Authorization", "none")]
            statuses.append((await client.get("/api/v1/transcribe/models", headers=headers)).status_code)
        assert statuses[:5] == [401] * 5
        assert 429 in statuses


async def test_over_sockets(server: RunningServer, edge_for: EdgeFor) -> None:
    """The token in `start`, as a browser sends it, or in the handshake."""
    async with edge_for(server.target, TOKEN, requests_per_minute=PER_MINUTE) as edge:
        codes = []
        for number in range(8):
            headers = {"Authorization": f"Bearer guess-{number}"} if number % 2 else {}
            async with talk(edge, additional_headers=headers) as call:
                with contextlib.suppress(ConnectionClosed):  # it may be refused before it starts
                    await call.say(**START, **({} if headers else {"token": f"guess-{number}"}))
                codes.append((await call.refused())[1])
        assert codes[:5] == [4401] * 5
        assert 4429 in codes
