"""A server that answers with bytes as they are, right or wrong."""

import socket
import threading
import time
from collections.abc import Callable, Iterator

CONTENT = bytes(range(256)) * 40
LENGTH = len(CONTENT)
Answer = bytes | Callable[[], Iterator[bytes]]


def head(*lines: str, status: str = "HTTP/1.1 200 OK") -> bytes:
    return "\r\n".join([status, *lines, "", ""]).encode("latin-1")


def moved(place: str, status: str = "HTTP/1.1 302 Found") -> bytes:
    return head(f"Location: {place}", "Content-Length: 0", status=status)


class RawServer:
    """Answers the n-th connection by the n-th bytes of `plan`, and by the last ones from then on."""

    def __init__(self):
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.socket.settimeout(20)
        self.plan: list[Answer] = [head(f"Content-Length: {LENGTH}") + CONTENT]
        self.asked: list[bytes] = []
        self.is_open = True
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.socket.getsockname()[1]}"

    def serve(self):
        while self.is_open:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            threading.Thread(target=self.answer, args=(connection,), daemon=True).start()

    def answer(self, connection):
        connection.settimeout(5)
        answer = self.plan[min(len(self.asked), len(self.plan) - 1)]
        try:
            with connection:
                request = b""
                while b"\r\n\r\n" not in request and (piece := connection.recv(65_536)):
                    request += piece
                self.asked.append(request)
                for piece in [answer] if isinstance(answer, bytes) else answer():
                    if not self.is_open:
                        return
                    connection.sendall(piece)
        except OSError:  # whoever asked has heard enough
            pass

    def close(self):
        self.is_open = False
        self.socket.shutdown(socket.SHUT_RDWR)  # so that the thread stops to wait
        self.socket.close()
        self.thread.join(1)


def forever(first: bytes, piece: bytes, wait: float = 0.0):
    def answer():
        yield first
        while True:
            time.sleep(wait)
            yield piece

    return answer


RIGHT = {
    "chunks": head("Transfer-Encoding: chunked") + b"%x;a=b\r\n" % LENGTH + CONTENT + b"\r\n0\r\nX: 1\r\n\r\n",
    "an old version": b"HTTP/1.0 200 OK\r\n\r\n" + CONTENT,
    "a continue before": head(status="HTTP/1.1 100 Continue") + head(f"Content-Length: {LENGTH}") + CONTENT,
    "no length": head("Connection: close") + CONTENT,
    "a length of letters": head("Content-Length: many", "Connection: close") + CONTENT,
    "all of it as a part": head(
        f"Content-Range: bytes 0-{LENGTH - 1}/{LENGTH}", f"Content-Length: {LENGTH}", status="HTTP/1.1 206 Partial"
    ) + CONTENT,
    "identity": head("Content-Encoding: identity", f"Content-Length: {LENGTH}") + CONTENT,
    "a name of its version that acts on a terminal": head(f"Content-Length: {LENGTH}", "ETag: \x1b[2J\xff") + CONTENT,
}  # fmt: skip
