"""Fetching models: what is refused, and a server that misbehaves in each way. Nothing leaves this machine."""

import hashlib
import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from nnpf import fetch, limits
from nnpf.errors import NnpfError
from nnpf.fetch import Fetcher, Trust, is_public
from nnpf.sources import ModelSources, load_base
from tests.fuzz.seeds import small_filter
from tests.nnpf.streams import characteristics

CERTIFICATES = Path(__file__).parent / "certificates"
CONTENT = b"what was asked for"


class Handler(BaseHTTPRequestHandler):
    """One path for each way to behave."""

    protocol_version = "HTTP/1.1"
    asked: list[str]

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        self.asked.append(self.path)
        name = self.path.strip("/").partition("?")[0].partition(".")[0].partition("/")[0].replace("-", "_")
        try:
            getattr(self, name)()
        except OSError:
            self.close_connection = True  # the client has had enough

    def send(self, content: bytes = CONTENT, status: int = 200, **headers: str) -> None:
        self.send_response(status)
        for key, value in ({"Content_Length": str(len(content))} | headers).items():
            self.send_header(key.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(content)

    def good(self) -> None:
        self.send()

    def filter(self) -> None:
        self.send(small_filter())

    def redirect(self) -> None:
        left = int(self.path.rpartition("/")[2])
        self.send(b"", 302, Location=f"/redirect/{left - 1}" if left else "/good")

    def to_http(self) -> None:
        self.send(b"", 301, Location="http://localhost/good")

    def to_file(self) -> None:
        self.send(b"", 301, Location="file:///etc/passwd")

    def to_private(self) -> None:
        self.send(b"", 307, Location="https://10.1.2.3/good")

    def to_nowhere(self) -> None:
        self.send(b"", 302)

    def missing(self) -> None:
        self.send(b"", 404)

    def huge(self) -> None:
        self.send(b"x", Content_Length=str(1 << 40))

    def endless(self) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        while True:
            self.wfile.write(b"1000\r\n" + b"x" * 4096 + b"\r\n")

    def short(self) -> None:
        self.send(b"x" * 10, Content_Length="20")
        self.close_connection = True

    def packed(self) -> None:
        self.send(b"\x1f\x8b", Content_Encoding="gzip")

    def silent(self) -> None:
        time.sleep(20)

    def dripping(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "1000")
        self.end_headers()
        for _ in range(100):
            self.wfile.write(b"x")
            self.wfile.flush()
            time.sleep(0.1)

    def dripping_headers(self) -> None:
        self.wfile.write(b"HTTP/1.1 200 OK\r\n")
        for number in range(100):
            self.wfile.write(f"X-{number}: x\r\n".encode())
            self.wfile.flush()
            time.sleep(0.1)

    def unmeasured(self) -> None:
        self.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n" + CONTENT)
        self.close_connection = True

    def garbage(self) -> None:
        self.wfile.write(b"\0\1\2 no HTTP at all\r\n\r\n")
        self.close_connection = True


class Server:
    """On this machine, with a certificate of its own."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        handler: Any = type("TheHandler", (Handler,), {"asked": self.asked})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(CERTIFICATES / "certificate.pem", CERTIFICATES / "key.pem")
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=[0.01], daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def uri(self, path: str) -> str:
        return f"https://localhost:{self.port}/{path}"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    running = Server()
    yield running
    running.close()


def own_context() -> ssl.SSLContext:
    return ssl.create_default_context(cafile=CERTIFICATES / "certificate.pem")


def local_only(address: fetch.Address) -> bool:
    return address.is_loopback


@pytest.fixture
def fetcher() -> Fetcher:
    """One that trusts the server of these tests. The command line has no way to make such a one."""
    return Fetcher(Trust(local_only, own_context()))


@pytest.fixture
def limit(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    def change(**values: int) -> None:
        monkeypatch.setattr(limits, "_current", limits.current())
        limits.override(**values)

    return change


def test_a_file_is_fetched_once(server: Server, fetcher: Fetcher) -> None:
    uri = server.uri("good?version=1")
    before = len(server.asked)
    assert fetcher.fetch(uri) == fetcher.fetch(uri) == CONTENT
    assert server.asked[before:] == ["/good?version=1"]


def test_redirects_are_followed_a_few_times(server: Server, fetcher: Fetcher) -> None:
    assert fetcher.fetch(server.uri("redirect/2")) == CONTENT
    with pytest.raises(NnpfError, match=r"more than 3 redirects \(--set-limit uri_redirects=N\)"):
        fetcher.fetch(server.uri("redirect/3"))


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("to-http", "redirected to http://localhost/good: http is not https"),
        ("to-file", "file is not https"),
        ("to-private", r"10\.1\.2\.3 is 10\.1\.2\.3, which is no public address"),
        ("to-nowhere", "a redirect to nowhere"),
        ("missing", "the server answers 404"),
        ("huge", r"more than 536870912 bytes \(--set-limit uri_bytes=N\)"),
        ("short", "ends after 10 bytes of 20"),
        ("packed", "content coding 'gzip', which was not asked for"),
        ("unmeasured", "the server does not say how long it is"),
        ("garbage", "cannot be fetched: "),
    ],
)
def test_a_server_that_misbehaves(server: Server, fetcher: Fetcher, path: str, reason: str) -> None:
    with pytest.raises(NnpfError, match=reason) as caught:
        fetcher.fetch(server.uri(path))
    assert str(caught.value).startswith(f"https://localhost:{server.port}/{path}: cannot be fetched: ")
    assert "\n" not in str(caught.value)


def test_a_file_without_end_is_not_fetched_to_the_end(
    server: Server, fetcher: Fetcher, limit: Callable[..., None]
) -> None:
    limit(uri_bytes=100_000)
    with pytest.raises(NnpfError, match="more than 100000 bytes"):
        fetcher.fetch(server.uri("endless"))


@pytest.mark.parametrize("path", ["silent", "dripping", "dripping-headers"])
def test_a_server_that_takes_its_time(server: Server, fetcher: Fetcher, limit: Callable[..., None], path: str) -> None:
    """A byte now and then keeps every single read alive; the time is for all of them."""
    limit(uri_seconds=1)
    start = time.monotonic()
    with pytest.raises(NnpfError, match=r"was not there after 1 seconds \(--set-limit uri_seconds=N\)"):
        fetcher.fetch(server.uri(path))
    assert time.monotonic() - start < 10


def test_a_handshake_that_never_ends(fetcher: Fetcher, limit: Callable[..., None]) -> None:
    limit(uri_seconds=1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        with pytest.raises(NnpfError, match="was not there after 1 seconds"):
            fetcher.fetch(f"https://localhost:{port}/good")


def test_all_files_together_are_limited(server: Server, fetcher: Fetcher, limit: Callable[..., None]) -> None:
    limit(uri_bytes=len(CONTENT) + 5, uri_count=2)
    fetcher.fetch(server.uri("good?1"))
    with pytest.raises(NnpfError, match="more than 5 bytes"):
        fetcher.fetch(server.uri("good?2"))
    limit(uri_bytes=1000, uri_count=1)
    with pytest.raises(NnpfError, match=r"more than 1 files are fetched \(--set-limit uri_count=N\)"):
        fetcher.fetch(server.uri("good?3"))


def test_a_certificate_that_nobody_vouches_for(server: Server) -> None:
    with pytest.raises(NnpfError, match="certificate: self-signed certificate"):
        Fetcher(Trust(local_only)).fetch(server.uri("good"))


def test_a_certificate_of_somebody_else(server: Server) -> None:
    uri = server.uri("good").replace("localhost", "127.0.0.1")
    with pytest.raises(NnpfError, match="certificate: IP address mismatch"):
        Fetcher(Trust(local_only, own_context())).fetch(uri)


@pytest.mark.parametrize(
    ("uri", "reason"),
    [
        ("http://example.com/f.onnx", "http is not https"),
        ("ftp://example.com/f.onnx", "ftp is not https"),
        ("https:///f.onnx", "a URI without a host"),
        ("https://user:secret@example.com/f.onnx", "a URI with a user name"),
        ("https://example.com/f onnx", "characters that a URI does not have"),
        ("https://example.com/f\r\nHost: other", "characters that a URI does not have"),
        ("https://ex\u00e4mple.com/", "characters that a URI does not have"),
        ("https://example.com:99999/", "Port out of range"),
        ("https://example.com/" + "a" * 3000, "a URI of more than 2048 characters"),
        ("https://[::1/", "Invalid IPv6 URL"),
        ("https://127.0.0.1/f.onnx", "no public address"),
        ("https://localhost/f.onnx", "no public address"),
        ("https://[::1]/f.onnx", "no public address"),
        ("https://[::ffff:10.0.0.1]/f.onnx", "no public address"),
        ("https://169.254.169.254/latest/meta-data", "no public address"),
        ("https://0x7f000001/f.onnx", "no public address|no such host|Name or service|address|resolution"),
        ("https://2130706433/f.onnx", "no public address|no such host|Name or service|address|resolution"),
    ],
)
def test_what_nobody_fetches(uri: str, reason: str) -> None:
    """With what the command line makes; no server is asked."""
    with pytest.raises(NnpfError, match=reason) as caught:
        Fetcher().fetch(uri)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    "address",
    ["10.0.0.1", "127.0.0.1", "192.168.1.1", "172.16.0.1", "169.254.1.1", "100.64.0.1", "0.0.0.0", "224.0.0.1",
     "255.255.255.255", "::1", "::", "fe80::1", "fc00::1", "ff02::1", "::ffff:127.0.0.1", "64:ff9b::7f00:1",
     "2002:7f00:1::", "2001:0:1::1", "192.0.2.1", "240.0.0.1"],
)  # fmt: skip
def test_addresses_that_are_not_public(address: str) -> None:
    assert not is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", ["8.8.8.8", "151.101.1.1", "2606:4700::1111", "::ffff:8.8.8.8"])
def test_addresses_that_are_public(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))


def answering(*addresses: str) -> Callable[..., list[Any]]:
    return lambda *_, **__: [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 0)) for address in addresses]


def test_one_private_address_among_public_ones_is_enough_to_refuse(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", answering("8.8.8.8", "192.168.0.1"))
    with pytest.raises(NnpfError, match=r"models\.test is 192\.168\.0\.1, which is no public address"):
        Fetcher().fetch("https://models.test/f.onnx")


def test_the_address_that_was_checked_is_connected_to(
    server: Server, fetcher: Fetcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DNS rebinding: the name server gives another address to whoever asks twice."""
    answers = iter([answering("127.0.0.1"), answering("192.0.2.1"), answering("192.0.2.1")])
    asked = []

    def changing(host: Any, *rest: Any, **more: Any) -> Any:
        if host == "127.0.0.1":  # the address itself, which needs no name server
            return answering("127.0.0.1")()[:1] and [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, rest[0]))]
        asked.append(host)
        return next(answers)()

    monkeypatch.setattr(socket, "getaddrinfo", changing)
    assert fetcher.fetch(f"https://models.test:{server.port}/good") == CONTENT
    assert asked == ["models.test"]


def test_a_name_server_that_is_silent(monkeypatch: pytest.MonkeyPatch, limit: Callable[..., None]) -> None:
    limit(uri_seconds=1)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: time.sleep(20) or [])
    start = time.monotonic()
    with pytest.raises(NnpfError, match="was not there after 1 seconds"):
        Fetcher().fetch("https://models.test/f.onnx")
    assert time.monotonic() - start < 10


def test_a_proxy_of_the_environment_is_not_asked(
    server: Server, fetcher: Fetcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("https_proxy", "http://192.0.2.1:1")
    assert fetcher.fetch(server.uri("good?proxy")) == CONTENT


def test_a_model_is_fetched_where_that_is_allowed(server: Server, fetcher: Fetcher) -> None:
    uri = server.uri("filter.onnx")
    message = characteristics(uri=uri)
    with pytest.raises(NnpfError, match=r"is not fetched; fetch it \(--allow-fetch\), or say which file"):
        load_base(message, ModelSources(None))
    assert load_base(message, ModelSources(None, fetcher=fetcher)).model.name == uri


def test_a_hash_that_is_pinned(server: Server, fetcher: Fetcher, tmp_path: Path) -> None:
    uri = server.uri("filter.onnx")
    right = hashlib.sha256(small_filter()).hexdigest()
    load_base(characteristics(uri=uri), ModelSources(None, sha256={uri: right.upper()}, fetcher=fetcher))
    with pytest.raises(NnpfError, match=f"has SHA-256 {right}, must have {'0' * 64}"):
        load_base(characteristics(uri=uri), ModelSources(None, sha256={uri: "0" * 64}, fetcher=fetcher))
    (tmp_path / "f.onnx").write_bytes(small_filter())
    with pytest.raises(NnpfError, match="must have"):  # files are held against it too
        load_base(characteristics(uri="f.onnx"), ModelSources(tmp_path, sha256={"f.onnx": "0" * 64}))


def test_options_of_the_command_line() -> None:
    """--allow-fetch makes a fetcher that talks to public addresses only, and there is no option beside it."""
    import argparse

    from nnpf_tools import filtering
    from nnpf_tools.files import UsageError

    parser = argparse.ArgumentParser()
    filtering.add_filter_arguments(parser)
    options = filtering.apply_options(parser.parse_args(["--allow-fetch", "--model-sha256", f"a={'0' * 64}"]), "in.266")
    assert options.sources.fetcher is not None
    assert options.sources.fetcher.trust == Trust(is_public, None)
    assert options.sources.sha256 == {"a": "0" * 64}
    assert filtering.apply_options(parser.parse_args([]), "in.266").sources.fetcher is None
    with pytest.raises(UsageError, match="give URI=HASH, 64 hexadecimal digits"):
        filtering.apply_options(parser.parse_args(["--model-sha256", "a=12"]), "in.266")


def test_a_playlist_does_not_make_the_decoder_fetch(tmp_path: Path) -> None:
    """FFmpeg follows what some formats name; a file may lead to files only, and no further."""
    from nnpf.decoding import decode_file

    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        port = server.getsockname()[1]
        playlist = tmp_path / "list.m3u8"
        playlist.write_text(
            f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2.0,\nhttp://127.0.0.1:{port}/x.ts\n#EXT-X-ENDLIST\n"
        )
        with pytest.raises(NnpfError, match="cannot be opened as video"):
            next(decode_file(playlist))
        with pytest.raises(TimeoutError):
            server.accept()  # nobody has called


def test_a_name_with_a_colon_is_a_file(tmp_path: Path, samples: Path) -> None:
    from nnpf.decoding import decode_file

    (tmp_path / "http:video.mkv").symlink_to(samples / "bbb.mkv")
    assert next(decode_file(tmp_path / "http:video.mkv")).decode_index == 0
