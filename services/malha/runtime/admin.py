"""The admin door of a process, on loopback: Prometheus metrics at ``/metrics``, probes at ``/livez`` and ``/readyz``.

It runs on a thread of its own, which sleeps between scrapes, so that a scrape can be answered while the event loop is busy.
"""

import threading
from collections.abc import Callable, Iterable
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import make_wsgi_app

from malha.runtime.errors import FailedPrecondition

HOST = "127.0.0.1"


class _QuietHandler(WSGIRequestHandler):
    def log_message(self, *_: object) -> None:
        """Scrapes are not logged."""


class Admin:
    """Serves metrics and probes until closed."""

    def __init__(self, port: int, ready: Callable[[], bool], setting: str = "MALHA_ADMIN_PORT") -> None:
        """Bind ``port`` (0: a free one), which ``setting`` names. Raises FailedPrecondition if it is taken."""
        self._ready = ready
        self._metrics = make_wsgi_app()
        try:
            self._server: WSGIServer = make_server(HOST, port, self._answer, handler_class=_QuietHandler)
        except OSError:
            raise FailedPrecondition(f"admin port {port} is taken: stop what uses it, or set {setting}", reason="PORT_TAKEN") from None
        self.port: int = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, name="admin", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(timeout=2)

    def _answer(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        if path == "/metrics":
            body: Iterable[bytes] = self._metrics(environ, start_response)
            return body
        status = {"/livez": "200 OK", "/readyz": "200 OK" if self._ready() else "503 Service Unavailable"}.get(path, "404 Not Found")
        start_response(status, [("Content-Type", "text/plain")])
        return [status.encode() + b"\n"]
