"""Servers on loopback for tests of invites behind a name: a DNS that answers TXT, and a page over https."""

from __future__ import annotations

import datetime
import ipaddress
import socketserver
import ssl
import struct
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import dns.flags
import dns.message
import dns.resolver
import dns.rrset
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

LOOPBACK = "127.0.0.1"


def certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate of 127.0.0.1 that signs itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, LOOPBACK)])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(LOOPBACK))]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem, private = folder / "cert.pem", folder / "key.pem"
    pem.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    form = serialization.PrivateFormat.PKCS8
    private.write_bytes(key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()))
    return pem, private


@contextmanager
def https_pages(folder: Path, pages: Mapping[str, bytes | str]) -> Iterator[tuple[str, Path]]:
    """Serves pages by path, a text as a redirection to it; gives the address and the certificate to trust."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            page = pages.get(self.path)
            self.send_response(404 if page is None else 302 if isinstance(page, str) else 200)
            if isinstance(page, str):
                self.send_header("Location", page)
            self.end_headers()
            if isinstance(page, bytes):
                self.wfile.write(page)

        def log_message(self, format: str, *args: object) -> None:
            """Tests read no access log."""

    with _over_tls(folder, ThreadingHTTPServer((LOOPBACK, 0), Handler)) as served:
        yield served


@contextmanager
def https_words(
    folder: Path, words: Mapping[str, Sequence[bytes]], pause: float
) -> Iterator[tuple[str, Path]]:
    """Answers each path with bytes as they are, HTTP or not: part by part, with seconds between them."""

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            path = self.rfile.readline().decode().split()[1]
            with suppress(OSError):  # of whoever went away
                for number, part in enumerate(words[path]):
                    ended.wait(pause if number else 0)
                    self.wfile.write(part)

    ended = threading.Event()
    server = socketserver.ThreadingTCPServer((LOOPBACK, 0), Handler)
    with _over_tls(folder, server) as served:
        try:
            yield served
        finally:
            ended.set()


@contextmanager
def _over_tls(folder: Path, server: socketserver.BaseServer) -> Iterator[tuple[str, Path]]:
    pem, private = certificate(folder)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem, private)
    with _serving(server, context) as port:
        yield f"https://{LOOPBACK}:{port}", pem


@contextmanager
def txt_records(records: Mapping[str, Sequence[bytes]]) -> Iterator[dns.resolver.Resolver]:
    """A resolver that asks a server of these TXT records: over UDP it is told to come by TCP, as long ones are."""

    def answered(wire: bytes, *, whole: bool) -> bytes:
        question = dns.message.from_wire(wire)
        reply = dns.message.make_response(question)
        name = question.question[0].name
        texts = records.get(name.to_text(omit_final_dot=True))
        if texts is None:
            reply.set_rcode(3)  # NXDOMAIN
        elif not whole:
            reply.flags |= dns.flags.TC
        else:
            parts = [" ".join(f'"{t[i : i + 250].decode()}"' for i in range(0, len(t), 250)) for t in texts]
            reply.answer.append(dns.rrset.from_text(name, 60, "IN", "TXT", *parts))
        return reply.to_wire(max_size=65535)

    class Datagrams(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            wire, line = self.request
            line.sendto(answered(wire, whole=False), self.client_address)

    class Streams(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            (length,) = struct.unpack(">H", self.rfile.read(2))
            reply = answered(self.rfile.read(length), whole=True)
            self.wfile.write(struct.pack(">H", len(reply)) + reply)

    streams = socketserver.ThreadingTCPServer((LOOPBACK, 0), Streams)
    datagrams = socketserver.ThreadingUDPServer((LOOPBACK, streams.server_address[1]), Datagrams)
    with _serving(streams) as port, _serving(datagrams):
        resolver = dns.resolver.Resolver(configure=False)
        resolver.nameservers, resolver.port = [LOOPBACK], port
        yield resolver


@contextmanager
def _serving(server: socketserver.BaseServer, secure: ssl.SSLContext | None = None) -> Iterator[int]:
    if secure is not None:
        server.socket = secure.wrap_socket(server.socket, server_side=True)  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield int(server.server_address[1])  # type: ignore[index]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
