"""What `malha serve llm` starts in place of vLLM where vLLM itself is not what is tested: ``MALHA_VLLM_COMMAND="python vllm_program.py"``.

Takes vLLM's arguments, answers ``/health``, ends in order at SIGTERM. ``--fake-exit CODE`` ends at once.
``GET /fake`` tells how it was started.
"""

import argparse
import json
import os
import signal
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        told = {"arguments": sys.argv[1:], "pid": os.getpid(), "environment": dict(os.environ)}
        self._answer(told if self.path == "/fake" else {})

    def _answer(self, content: object) -> None:
        body = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing."""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int)
    parser.add_argument("--fake-exit", type=int)
    given, _ = parser.parse_known_args()
    if given.fake_exit is not None:
        sys.exit(given.fake_exit)
    server = ThreadingHTTPServer(("127.0.0.1", given.port), Handler)
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    server.serve_forever()


if __name__ == "__main__":
    main()
