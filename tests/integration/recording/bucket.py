"""A small S3-compatible server: path-style objects in memory; a request that is not signed with its key is refused."""

import hashlib
import hmac
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, unquote, urlsplit

ACCESS, SECRET, REGION, BUCKET = "access", "secret/key+1", "eu-test-1", "bucket"
PAGE = 2


class Bucket:
    """``failures``: how many requests to answer with 503 first."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.failures = 0
        self.endpoint = ""


def _handler(bucket: Bucket) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Nothing is printed."""

        def do_GET(self) -> None:
            self._serve()

        def do_PUT(self) -> None:
            self._serve()

        def do_DELETE(self) -> None:
            self._serve()

        def _serve(self) -> None:
            content = self.rfile.read(int(self.headers.get("content-length", 0)))
            parts = urlsplit(self.path)
            if bucket.failures:
                bucket.failures -= 1
                self._answer(503)
            elif not self._genuine(content):
                self._answer(403)
            elif parts.path == f"/{BUCKET}":
                self._answer(200, self._listing(dict(parse_qsl(parts.query))))
            else:
                self._object(unquote(parts.path).removeprefix(f"/{BUCKET}/"), content)

        def _object(self, key: str, content: bytes) -> None:
            if self.command == "PUT":
                bucket.objects[key] = content
                self._answer(200)
            elif self.command == "DELETE":
                bucket.objects.pop(key, None)
                self._answer(204)
            elif key in bucket.objects:
                self._answer(200, bucket.objects[key])
            else:
                self._answer(404, b"<Error><Code>NoSuchKey</Code></Error>")

        def _listing(self, query: dict[str, str]) -> bytes:
            prefix, delimiter = query["prefix"], query.get("delimiter", "")
            keys = [key for key in sorted(bucket.objects) if key.startswith(prefix)]
            if delimiter:
                folders = sorted({prefix + key.removeprefix(prefix).partition(delimiter)[0] + delimiter for key in keys})
                found = [f"<CommonPrefixes><Prefix>{each}</Prefix></CommonPrefixes>" for each in folders]
            else:
                found = [f"<Contents><Key>{each}</Key></Contents>" for each in keys]
            start = int(query.get("continuation-token", "0"))
            more = f"<NextContinuationToken>{start + PAGE}</NextContinuationToken>" if start + PAGE < len(found) else ""
            body = "".join(found[start : start + PAGE])
            return f'<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{body}{more}</ListBucketResult>'.encode()

        def _genuine(self, content: bytes) -> bool:
            """Whether the signature is that of this very request (SigV4)."""
            match = re.fullmatch(
                r"AWS4-HMAC-SHA256 Credential=([^/]+)/(\d{8})/([^/]+)/s3/aws4_request, ?SignedHeaders=([^,]+), ?Signature=([0-9a-f]{64})",
                self.headers.get("authorization", ""),
            )
            if match is None or (match[1], match[3]) != (ACCESS, REGION):
                return False
            digest = hashlib.sha256(content).hexdigest()
            path, _, query = self.path.partition("?")
            lines = "".join(f"{name}:{self.headers[name]}\n" for name in match[4].split(";"))
            canonical = f"{self.command}\n{path}\n{query}\n{lines}\n{match[4]}\n{digest}"
            scope = f"{match[2]}/{REGION}/s3/aws4_request"
            text = f"AWS4-HMAC-SHA256\n{self.headers['x-amz-date']}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
            key = f"AWS4{SECRET}".encode()
            for part in (*scope.split("/"),):
                key = hmac.new(key, part.encode(), hashlib.sha256).digest()
            return self.headers["x-amz-content-sha256"] == digest and hmac.new(key, text.encode(), hashlib.sha256).hexdigest() == match[5]

        def _answer(self, status: int, content: bytes = b"") -> None:
            self.send_response(status)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    return Handler


@contextmanager
def bucket_server() -> Iterator[Bucket]:
    """On a free port, until the block ends."""
    bucket = Bucket()
    with ThreadingHTTPServer(("127.0.0.1", 0), _handler(bucket)) as server:
        bucket.endpoint = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield bucket
        finally:
            server.shutdown()
            thread.join()
