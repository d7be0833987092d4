"""Serving a page to this computer alone: its own files, each at its address, and a refusal that is counted for all
else."""

import http.client
import socket
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import ProxyHandler, build_opener

import pytest

from targets.browser.server import serve

DIRECT = build_opener(ProxyHandler({}))


def status(host: str, path: str, method: str = "GET") -> int:
    connection = http.client.HTTPConnection(host, timeout=10)
    connection.request(method, path)
    answer = connection.getresponse().status
    connection.close()
    return answer


def test_files_and_bytes_are_served_isolated_and_with_their_types(tmp_path: Path) -> None:
    (tmp_path / "p.html").write_text("<p>page")
    (tmp_path / "r.wasm").write_bytes(b"\0asm")
    with serve({"page.html": tmp_path / "p.html", "a/r.wasm": tmp_path / "r.wasm", "feeds/0/1": b"\1\2"}) as served:
        with DIRECT.open(served.address) as answer:
            assert answer.read() == b"<p>page"
            assert answer.headers["Cross-Origin-Opener-Policy"] == "same-origin"
            assert answer.headers["Cross-Origin-Embedder-Policy"] == "require-corp"
            assert answer.headers.get_content_type() == "text/html"
        with DIRECT.open(served.address + "a/r.wasm") as answer:
            assert (answer.read(), answer.headers["Content-Type"]) == (b"\0asm", "application/wasm")
        with DIRECT.open(served.address + "feeds/0/1") as answer:
            assert answer.read() == b"\1\2"
        assert served.outside == []


def test_it_listens_on_this_computer_alone_and_ends(tmp_path: Path) -> None:
    with serve({"page.html": b""}) as served:
        host, port = served.proxy.split(":")
        assert host == "127.0.0.1"
        assert status(served.proxy, urlsplit(served.address).path) == 200
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((host, int(port)), timeout=5)


@pytest.mark.parametrize("path", ["page.html", "../secret", "%2e%2e/secret", "/etc/passwd", "a/../../secret"])
def test_no_path_leaves_what_is_served(path: str, tmp_path: Path) -> None:
    (tmp_path / "served").mkdir()
    (tmp_path / "secret").write_text("secret")
    with serve({"a": b"a"}) as served:
        own = urlsplit(served.address).path
        assert status(served.proxy, own + path) == 404
        assert status(served.proxy, own + "a") == 200


def test_without_its_word_nothing_is_served() -> None:
    with serve({"page.html": b"page", "model": b"model"}) as served:
        for path in ("/", "/model", "/another-word/model", "//model"):
            assert status(served.proxy, path) == 404


def test_everything_outside_is_refused_and_counted() -> None:
    with serve({"page.html": b""}) as served:
        assert status(served.proxy, "http://example.org/x") == 403
        assert status(served.proxy, "http://example.org/x", "POST") == 403
        assert status(served.proxy, "example.net:443", "CONNECT") == 403
        assert served.outside == ["example.org", "example.org", "example.net:443"]
