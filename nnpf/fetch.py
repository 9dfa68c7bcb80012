"""Files from the web, for those who ask for it: https only, from public addresses only, with limits.

A stream names the URI, so whoever made the stream chooses whom this machine talks to. Therefore: the address that was
checked is the one that is connected to (another answer of the name server a moment later changes nothing); redirects
are held against the same rules; nothing is sent that identifies the user; proxies of the environment are not asked; and
time, bytes and number of fetches have limits (`nnpf.limits`).
"""

from __future__ import annotations

import http.client
import ipaddress
import queue
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import SplitResult, urljoin, urlsplit

from nnpf import limits
from nnpf.errors import NnpfError, shortened

HTTPS_PORT = 443
_CHUNK_BYTES = 1 << 16
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_NOT_OF_A_URI = re.compile(r"[^!-~]")  # RFC 3986 knows printable ASCII only, without spaces
# Addresses that stand for others, which might be private ones: NAT64, 6to4, Teredo.
_EMBEDDING = tuple(map(ipaddress.ip_network, ("64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/32")))

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def is_public(address: Address) -> bool:
    """Whether an address belongs to the internet at large, and to no network that this machine may be part of."""
    mapped = getattr(address, "ipv4_mapped", None)
    if mapped is not None:
        return is_public(mapped)
    if any(address in network for network in _EMBEDDING if network.version == address.version):
        return False
    return address.is_global and not address.is_multicast


@dataclass(frozen=True, slots=True)
class Trust:
    """Whom to talk to. No option of the command line changes it; tests, with a server of their own, do.

    Attributes:
        permitted: whether an address may be connected to.
        context: certificates; None for those that the system trusts.
    """

    permitted: Callable[[Address], bool] = is_public
    context: ssl.SSLContext | None = None


@dataclass(slots=True)
class Fetcher:
    """Fetches, and keeps what it fetched: a stream names the same file at every random access point."""

    trust: Trust = field(default_factory=Trust)
    _kept: dict[str, bytes] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def fetch(self, uri: str) -> bytes:
        """The file that a URI names.

        Raises:
            NnpfError: it is not to be had within the rules and limits.
        """
        with self._lock:
            if uri not in self._kept:
                if len(self._kept) >= (allowed := limits.current().uri_count):
                    raise limits.exceeded("uri_count", f"more than {allowed} files are fetched", subject=shortened(uri))
                left = limits.current().uri_bytes - sum(map(len, self._kept.values()))
                self._kept[uri] = _fetch(uri, self.trust, left)
            return self._kept[uri]


class _Refused(Exception):
    """Why a fetch fails, in one line."""


def _fetch(uri: str, trust: Trust, left: int) -> bytes:
    allowed = limits.current()
    end = time.monotonic() + allowed.uri_seconds
    at = uri
    try:
        for _ in range(allowed.uri_redirects + 1):
            found = _get(at, trust, left, end)
            if isinstance(found, bytes):
                return found
            at = urljoin(at, found)
        raise _Refused(f"more than {allowed.uri_redirects} redirects (--set-limit uri_redirects=N)")
    except (_Refused, OSError, ValueError, http.client.HTTPException) as error:
        if time.monotonic() >= end:
            problem = f"was not there after {allowed.uri_seconds} seconds (--set-limit uri_seconds=N)"
        elif isinstance(error, ssl.SSLCertVerificationError):
            problem = f"certificate: {error.verify_message}"
        else:
            problem = " ".join(str(error).split()) or type(error).__name__
        if at != uri:
            problem = f"redirected to {shortened(at)}: {problem}"
        raise NnpfError(f"cannot be fetched: {problem}", subject=shortened(uri)) from None


def _get(uri: str, trust: Trust, left: int, end: float) -> bytes | str:
    """One request: the content, or where to ask instead."""
    parts = _checked(uri)
    host = parts.hostname or ""
    port = parts.port or HTTPS_PORT
    address = _resolve(host, port, trust, end)
    plain = socket.create_connection((str(address), port), timeout=_remaining(end))
    context = trust.context or ssl.create_default_context()
    with context.wrap_socket(plain, server_hostname=host, do_handshake_on_connect=False) as secured:
        # Each read may take the rest of the time, and one byte at a time takes for ever: at the end the line is cut.
        watch = threading.Timer(_remaining(end), _cut, [secured])
        watch.daemon = True
        watch.start()
        try:
            secured.do_handshake()
            connection = http.client.HTTPConnection(host, port)
            connection.sock = secured
            target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            connection.request("GET", target, headers={"User-Agent": "nnpf", "Accept-Encoding": "identity"})
            with connection.getresponse() as response:
                if response.status in _REDIRECTS:
                    if not (location := response.getheader("Location")):
                        raise _Refused("a redirect to nowhere")
                    return location
                return _content(response, left)
        finally:
            watch.cancel()


def _checked(uri: str) -> SplitResult:
    """The parts of a URI that may be asked for."""
    if len(uri) > (allowed := limits.current().uri_characters):
        raise _Refused(f"a URI of more than {allowed} characters (--set-limit uri_characters=N)")
    if _NOT_OF_A_URI.search(uri):
        raise _Refused("characters that a URI does not have")
    parts = urlsplit(uri)
    if parts.scheme != "https":
        raise _Refused(f"{parts.scheme or 'no scheme'} is not https")
    if parts.username is not None or parts.password is not None:
        raise _Refused("a URI with a user name")
    if not parts.hostname:
        raise _Refused("a URI without a host")
    return parts


def _resolve(host: str, port: int, trust: Trust, end: float) -> Address:
    """An address of a host, when all that it has may be connected to."""
    answer: queue.Queue[list[Address] | OSError] = queue.Queue()

    def ask() -> None:  # in a thread, because nothing else ends it when name servers are silent
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            answer.put(OSError(f"{host}: {getattr(error, 'strerror', None) or 'no such host'}"))
        else:
            answer.put([ipaddress.ip_address(str(item[4][0]).partition("%")[0]) for item in found])

    threading.Thread(target=ask, daemon=True, name="nnpf name look-up").start()
    try:
        found = answer.get(timeout=_remaining(end))
    except queue.Empty:
        raise _Refused(f"{host}: no answer from the name server") from None
    if isinstance(found, OSError):
        raise _Refused(str(found))
    for address in found:
        if not trust.permitted(address):
            raise _Refused(f"{host} is {address}, which is no public address (--model-map URI=FILE takes a file)")
    return found[0]


def _content(response: http.client.HTTPResponse, left: int) -> bytes:
    if response.status != http.HTTPStatus.OK:
        raise _Refused(f"the server answers {response.status} {response.reason}")
    coding = response.getheader("Content-Encoding", "identity")
    if coding.strip().lower() != "identity":
        raise _Refused(f"content coding {coding!r}, which was not asked for")
    declared = response.length  # of Content-Length; None in pieces
    if declared is None and not response.chunked:
        raise _Refused("the server does not say how long it is")  # so nobody could tell when the line is cut
    too_many = f"more than {left} bytes (--set-limit uri_bytes=N)"
    if declared is not None and declared > left:
        raise _Refused(too_many)
    data = bytearray()
    while chunk := response.read(_CHUNK_BYTES):
        data += chunk
        if len(data) > left:
            raise _Refused(too_many)
    if declared is not None and len(data) != declared:
        raise _Refused(f"ends after {len(data)} bytes of {declared}")
    return bytes(data)


def _remaining(end: float) -> float:
    return max(0.001, end - time.monotonic())


def _cut(secured: ssl.SSLSocket) -> None:
    try:
        socket.socket.shutdown(secured, socket.SHUT_RDWR)  # the line itself; a farewell might never be answered
    except OSError:
        return  # closed meanwhile
