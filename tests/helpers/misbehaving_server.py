"""An HTTP server on the loopback interface that misbehaves on demand and counts what it serves."""

import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PIECE = 16 * 1024


class Handler(BaseHTTPRequestHandler):
    """Hands each request to the next planned answer of its path, or else to `well_behaved`."""

    protocol_version = "HTTP/1.1"
    server: "MisbehavingServer"

    def do_GET(self) -> None:
        self.close_connection = True
        content = self.server.contents.get(self.path, b"")
        self.server.requests.append((self.path, self.headers.get("Range")))
        plan = self.server.plans.get(self.path, [])
        answer = plan.pop(0) if len(plan) > 1 else plan[0] if plan else well_behaved
        with suppress(BrokenPipeError, ConnectionResetError):  # the client was killed or has seen enough
            answer(self, content)

    def log_message(self, *args: object) -> None:
        pass

    def head(self, status: int, length: int | None = None, **headers: str) -> None:
        self.send_response(status)
        if length is not None:
            self.send_header("Content-Length", str(length))
        for name, value in {"Connection": "close", **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()

    def body(self, content: bytes, pause: float = 0.0, piece: int = PIECE) -> None:
        for start in range(0, len(content), piece):
            part = content[start : start + piece]
            # Counted first: the client may have its last byte and look at the count before this thread goes on.
            self.server.served[self.path] = self.server.served.get(self.path, 0) + len(part)
            self.wfile.write(part)
            time.sleep(pause)

    def first_wanted(self) -> int | None:
        match = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        return int(match[1]) if match else None

    def ranged_head(self, content: bytes) -> bytes:
        """Send the head of a correct answer, 200 or 206, and return the body that belongs to it."""
        start = self.first_wanted()
        if start is None:
            self.head(200, len(content))
            return content
        self.head(206, len(content) - start, Content_Range=f"bytes {start}-{len(content) - 1}/{len(content)}")
        return content[start:]


Answer = Callable[[Handler, bytes], None]


class MisbehavingServer(ThreadingHTTPServer):
    """`contents` by path; `plans`: answers by path, one a request, the last for ever; `served`: bytes by path."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        # What lies in the kernel's buffers when a client dies counts as served: keep it little.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, PIECE)
        self.contents: dict[str, bytes] = {}
        self.plans: dict[str, list[Answer]] = {}
        self.requests: list[tuple[str, str | None]] = []
        self.served: dict[str, int] = {}

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}{path}"

    def handle_error(self, request: object, client_address: object) -> None:
        pass  # a refused TLS handshake


@contextmanager
def misbehaving_server(tls: ssl.SSLContext | None = None) -> Iterator[MisbehavingServer]:
    with MisbehavingServer() as server:
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def well_behaved(handler: Handler, content: bytes) -> None:
    handler.body(handler.ranged_head(content))


def ignores_range(handler: Handler, content: bytes) -> None:
    handler.head(200, len(content))
    handler.body(content)


def drops_after(count: int) -> Answer:
    def answer(handler: Handler, content: bytes) -> None:
        handler.body(handler.ranged_head(content)[:count])

    return answer


def ignores_range_and_drops_after(count: int) -> Answer:
    def answer(handler: Handler, content: bytes) -> None:
        handler.head(200, len(content))
        handler.body(content[:count])

    return answer


def announces(length: int) -> Answer:
    """Lie about the length in the head, then send the true content."""

    def answer(handler: Handler, content: bytes) -> None:
        handler.head(200, length)
        handler.body(content)

    return answer


def sends_without_length(wrong_content: bytes) -> Answer:
    """Send something else, its end marked only by the end of the connection."""

    def answer(handler: Handler, _content: bytes) -> None:
        handler.head(200)
        handler.body(wrong_content)

    return answer


def wrong_bytes(handler: Handler, content: bytes) -> None:
    handler.body(handler.ranged_head(bytes(byte ^ 0xFF for byte in content)))


def wrong_range(handler: Handler, content: bytes) -> None:
    """Answer with the bytes from 0 instead of those asked for, and say so."""
    handler.head(206, len(content), Content_Range=f"bytes 0-{len(content) - 1}/{len(content)}")
    handler.body(content)


def status(code: int, **headers: str) -> Answer:
    def answer(handler: Handler, _content: bytes) -> None:
        message = b"no"
        handler.head(code, len(message), **headers)
        handler.body(message)

    return answer


def empty_202(handler: Handler, _content: bytes) -> None:
    handler.head(202, 0)


def html_page(handler: Handler, _content: bytes) -> None:
    page = b"<!DOCTYPE html><title>Are you a robot?</title>"
    handler.head(200, len(page), Content_Type="text/html; charset=utf-8")
    handler.body(page)


def trickles(piece: int, pause: float) -> Answer:
    def answer(handler: Handler, content: bytes) -> None:
        handler.body(handler.ranged_head(content), pause, piece)

    return answer


def stalls_after(count: int, seconds: float) -> Answer:
    def answer(handler: Handler, content: bytes) -> None:
        handler.body(handler.ranged_head(content)[:count])
        time.sleep(seconds)

    return answer


def sends_raw(answer_bytes: bytes) -> Answer:
    """Send these bytes instead of an HTTP answer."""

    def answer(handler: Handler, _content: bytes) -> None:
        handler.wfile.write(answer_bytes)

    return answer


def redirects_to(url: str) -> Answer:
    def answer(handler: Handler, _content: bytes) -> None:
        handler.head(302, 0, Location=url)

    return answer


def calls_at(offset: int, action: Callable[[], None], pause: float) -> Answer:
    """Serve at a steady pace and do something when the byte `offset` of the file is reached."""

    def answer(handler: Handler, content: bytes) -> None:
        body = handler.ranged_head(content)
        before = max(offset - (len(content) - len(body)), 0)
        handler.body(body[:before], pause)
        action()
        handler.body(body[before:], pause)

    return answer
