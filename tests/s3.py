"""An S3 server for tests, and a way to it that is slow, fails, is cut, or lists what is no longer so."""

import http.client
import socket
import struct
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import pyarrow.fs as pafs

from stages.randomness import rng

SERVER = """
import logging, sys, time
from moto.server import ThreadedMotoServer
logging.getLogger("werkzeug").setLevel(logging.ERROR)
server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
server.start()
print(server.get_host_and_port()[1], flush=True)
sys.stdin.read()
"""
FAULTS = ("500", "503", "reset", "lost", "slow")
"""Of an answer; a lost one is of a request that was carried out."""


@contextmanager
def server() -> Iterator[int]:
    """Start an S3 server, and give its port on 127.0.0.1."""
    command = [sys.executable, "-W", "ignore", "-c", SERVER]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield int(process.stdout.readline())
        finally:
            process.kill()


def bucket(port: int) -> str:
    """Make a bucket, and return the name of a store in it, without its server."""
    name = f"b{uuid.uuid4().hex[:12]}"
    fs = pafs.S3FileSystem(endpoint_override=f"127.0.0.1:{port}", scheme="http", allow_bucket_creation=True)
    fs.create_dir(name)
    return f"s3://{name}/runs/store"


def uri(store: str, port: int) -> str:
    """Return a store's URI at the server with this port."""
    return f"{store}?scheme=http&endpoint_override=127.0.0.1:{port}"


class Way:
    """A way to an S3 server, with a port of its own; faults come in a seeded order."""

    def __init__(self, to: int, seed: int = 0, share: float = 0.0, stale_s: float = 0.0, slow_s: float = 0.2) -> None:
        self.to, self.share, self.stale_s, self.slow_s = to, share, stale_s, slow_s
        self.random, self.lock = rng(seed, "faults"), threading.Lock()
        self.listings: dict[str, list[tuple[float, bytes]]] = {}
        self.faults = 0
        self.asked: list[str] = []
        """Method and path of each request."""
        self.refused: str | None = None
        """A method that is not allowed, whatever was asked for."""
        self.allowed: int | None = None
        """So many requests more; None: any number."""
        self.port = 0
        self.restore()

    def restore(self) -> None:
        """Answer again, at the same port."""
        self.open = True
        self.sockets: set[socket.socket] = set()
        handler = type("Through", (Handler,), {"way": self})
        self.listener = ThreadingHTTPServer(("127.0.0.1", self.port), handler)
        self.listener.daemon_threads = True
        self.port = self.listener.server_address[1]
        threading.Thread(target=self.listener.serve_forever, args=(0.01,), daemon=True).start()

    def cut(self) -> None:
        """Go away as a server does that is killed: every connection is reset, and none is taken."""
        self.open = False
        self.listener.shutdown()
        self.listener.server_close()
        for each in list(self.sockets):
            reset(each)

    def refuse_after(self, requests: int | None) -> None:
        """Allow so many requests more and then none; None: allow all again."""
        with self.lock:
            self.allowed = requests

    def refuses(self, method: str, path: str) -> bool:
        """Whether a request is not allowed."""
        with self.lock:
            if self.allowed is not None:
                self.allowed -= 1
            gone = self.allowed is not None and self.allowed < 0
        return gone or (method == self.refused and "list-type" not in path)

    def fault(self) -> str | None:
        """Return what happens to a request."""
        with self.lock:
            if self.random.random() >= self.share:
                return None
            self.faults += 1
            return str(self.random.choice(FAULTS))

    def listed(self, path: str, body: bytes) -> bytes:
        """Return a listing as it was some time ago: nothing, before anyone looked."""
        now = time.monotonic()
        with self.lock:
            known = self.listings.setdefault(path, [(0.0, EMPTY)])
            known.append((now, body))
            return next(old for at, old in reversed(known) if at <= now - self.stale_s)


EMPTY = (
    b'<?xml version="1.0"?><ListBucketResult><KeyCount>0</KeyCount><IsTruncated>false</IsTruncated></ListBucketResult>'
)
OF_THE_BODY = ("transfer-encoding", "content-length", "expect", "connection")


class Handler(BaseHTTPRequestHandler):
    """Passes a request on, or not."""

    way: ClassVar[Way]
    protocol_version = "HTTP/1.1"

    def setup(self) -> None:
        super().setup()
        self.way.sockets.add(self.request)

    def handle(self) -> None:
        with suppress(OSError, http.client.HTTPException):
            super().handle()

    def finish(self) -> None:
        self.way.sockets.discard(self.request)
        with suppress(OSError):
            super().finish()

    def log_message(self, *words: object) -> None:
        pass

    def pass_on(self) -> None:
        body = self.body()
        self.way.asked.append(f"{self.command} {self.path}")
        if self.way.refuses(self.command, self.path):
            self.answer(403, [], b"")
            return
        fault = self.way.fault()
        if fault in ("500", "503"):
            self.answer(int(fault), [], b"")
            return
        if fault == "slow":
            time.sleep(self.way.slow_s)
        if fault == "reset":
            self.drop()
            return
        status, headers, found = self.asked(body)
        if fault == "lost":
            self.drop()
            return
        if self.way.stale_s and "list-type=2" in self.path:
            found = self.way.listed(self.path, found)
        self.answer(status, headers, found)

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = pass_on  # noqa: N815  names that the library asks for

    def body(self) -> bytes:
        """Return the whole body of the request; raises `ConnectionError` where the client went away."""
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.read(int(self.headers.get("Content-Length") or 0))
        chunks = []
        while size := int(self.rfile.readline().strip() or b"-1", 16):
            chunks.append(self.read(size))
            self.read(2)
        self.rfile.readline()
        return b"".join(chunks)

    def read(self, size: int) -> bytes:
        if size < 0 or len(found := self.rfile.read(size)) < size:
            raise ConnectionResetError
        return found

    def asked(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        """Return what the server answers."""
        connection = http.client.HTTPConnection("127.0.0.1", self.way.to, timeout=60)
        try:
            headers = {name: value for name, value in self.headers.items() if name.lower() not in OF_THE_BODY}
            connection.request(self.command, self.path, body, headers)
            answer = connection.getresponse()
            found = answer.read()
            return answer.status, answer.getheaders(), found
        finally:
            connection.close()

    def answer(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        own = ("connection", "transfer-encoding", "date", "server")
        length = [value for name, value in headers if name.lower() == "content-length"]
        with suppress(OSError):
            self.send_response(status)
            for name, value in headers:
                if name.lower() not in (*own, "content-length"):
                    self.send_header(name, value)
            self.send_header("Content-Length", length[0] if self.command == "HEAD" and length else str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

    def drop(self) -> None:
        self.close_connection = True
        reset(self.request)


def reset(connection: socket.socket) -> None:
    """Close a connection so that the other side sees an error, not an end."""
    with suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.shutdown(socket.SHUT_RDWR)
        connection.close()
