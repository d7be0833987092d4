"""Serves a page and its files to a browser on this computer, and is the proxy that refuses it all else."""

import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock, Thread
from urllib.parse import urlsplit

from targets.errors import TargetError

Content = Path | bytes

_TYPES = {
    ".html": "text/html; charset=utf-8", ".js": "text/javascript", ".mjs": "text/javascript",
    ".wasm": "application/wasm", ".css": "text/css; charset=utf-8", ".json": "application/json", ".png": "image/png",
}  # fmt: skip
# Cross-origin isolation: a page without it has no threads, and a clock of 100 microseconds in place of 5.
_HEADERS = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


@dataclass
class Served:
    """`address` of the page, with a word that no other program on this computer knows; `proxy`: host and port that the
    browser is given for everything else. `outside`: the hosts that it asked for there, each refused."""

    address: str
    proxy: str
    outside: list[str] = field(default_factory=list)


@contextmanager
def serve(files: Mapping[str, Content], port: int = 0) -> Iterator[Served]:
    """Serves `files` by their paths ("page.html" at the address itself) on the loopback interface, at `port` or a free
    one. Raises TargetError if another program has it."""
    word = secrets.token_urlsafe(16)
    lock = Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            if not self.path.startswith("/"):  # a proxy is asked for whole addresses
                self._refuse(urlsplit(self.path).netloc)
                return
            path = urlsplit(self.path).path
            content = files.get(path.removeprefix(f"/{word}/") or "page.html") if path.startswith(f"/{word}/") else None
            if content is None:
                self._answer(HTTPStatus.NOT_FOUND, b"", "text/plain")
            elif isinstance(content, bytes):
                self._answer(HTTPStatus.OK, content, "application/octet-stream")
            else:
                kind = _TYPES.get(content.suffix, "application/octet-stream")
                self._answer(HTTPStatus.OK, content.read_bytes(), kind)

        def _outside(self) -> None:
            self._refuse(urlsplit(self.path).netloc or self.path)

        do_CONNECT = do_POST = do_HEAD = do_PUT = do_OPTIONS = _outside

        def _refuse(self, host: str) -> None:
            with lock:
                served.outside.append(host)
            self.close_connection = True
            self._answer(HTTPStatus.FORBIDDEN, b"", "text/plain")

        def _answer(self, status: HTTPStatus, body: bytes, kind: str) -> None:
            self.send_response(status)
            for name, value in {**_HEADERS, "Content-Type": kind, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        def handle_error(self, request: object, client_address: object) -> None:
            pass  # the browser may end in the middle of an answer

    try:
        listening = Server(("127.0.0.1", port), Handler)
    except OSError as error:
        raise TargetError(
            f"port {port} of this computer can't be listened on: {error.strerror}; name another"
        ) from None
    with listening as server:
        host = f"127.0.0.1:{server.server_address[1]}"
        served = Served(f"http://{host}/{word}/", host)
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield served
        finally:
            server.shutdown()
            thread.join()
