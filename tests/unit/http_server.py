"""A real local HTTP server that misbehaves as told: one `Answer` per request, then well-behaved ones."""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Answer:
    """How to answer one request."""

    status: int = 200
    """Anything but 200: this status, without the file."""
    cut: int | None = None
    """Close the connection after so many bytes of the body."""
    stall: int | None = None
    """Fall silent after so many bytes of the body."""
    ranges: bool = True
    """Whether Range and If-Range are honoured."""
    obey_if_range: bool = True
    """Whether a Range of another version is answered with the whole file, as it must be."""
    announce: int | str | None = None
    """A Content-Length other than the true one; -1: none."""
    content: bytes | None = None
    """From now on the file has this content."""
    shift: int = 0
    """Answer a Range with one that begins so many bytes later."""


class Site:
    """Serves `files` (by path). `requests` are the paths and headers that were asked for.

    `types` are the content types of some files; `moved` sends from some paths to others, as to a login page.
    """

    def __init__(self, files: dict[str, bytes], *answers: Answer, validator: str | None = "ETag") -> None:
        self.files = files
        self.types: dict[str, str] = {}
        self.moved: dict[str, str] = {}
        self.answers = list(answers)
        self.validator = validator
        self.requests: list[tuple[str, dict[str, str]]] = []
        self._over = threading.Event()

    def __enter__(self) -> Site:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def url(self, path: str = "/file.tar") -> str:
        """The address of a file."""
        return f"http://127.0.0.1:{self._server.server_port}{path}"

    def ranges(self) -> list[str | None]:
        """The Range header of each request."""
        return [headers.get("Range") for _, headers in self.requests]

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                site.requests.append((self.path, dict(self.headers)))
                site.answer(self, site.answers.pop(0) if site.answers else Answer())

            def log_message(self, *_: object) -> None:
                pass

        return Handler

    def answer(self, handler: BaseHTTPRequestHandler, answer: Answer) -> None:
        """Answer one request."""
        if answer.content is not None:
            self.files[handler.path] = answer.content
        if handler.path in self.moved:
            handler.send_response(302)
            handler.send_header("Location", self.moved[handler.path])
            handler.end_headers()
            return
        if answer.status != 200 or handler.path not in self.files:
            handler.send_error(answer.status if answer.status != 200 else 404)
            return
        content = self.files[handler.path]
        version = f'"{hash(content)}"'
        start = self._start(handler, answer, version)
        if start is not None and start >= len(content):
            handler.send_response(416)
            handler.send_header("Content-Range", f"bytes */{len(content)}")
            handler.end_headers()
            return
        if start is None:
            handler.send_response(200)
            body = content
        else:
            start += answer.shift
            handler.send_response(206)
            handler.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
            body = content[start:]
        if handler.path in self.types:
            handler.send_header("Content-Type", self.types[handler.path])
        if self.validator:
            handler.send_header(self.validator, version)
        if answer.announce != -1:
            handler.send_header(
                "Content-Length", str(len(body) if answer.announce is None else answer.announce)
            )
        handler.end_headers()
        self._send(handler, answer, body)

    def _start(self, handler: BaseHTTPRequestHandler, answer: Answer, version: str) -> int | None:
        found = re.fullmatch(r"bytes=(\d+)-", handler.headers.get("Range", ""))
        if not found or not answer.ranges:
            return None
        if answer.obey_if_range and handler.headers.get("If-Range", version) != version:
            return None
        return int(found[1])

    def _send(self, handler: BaseHTTPRequestHandler, answer: Answer, body: bytes) -> None:
        stop = answer.cut if answer.stall is None else answer.stall
        try:
            handler.wfile.write(body[:stop])
            handler.wfile.flush()
            if answer.stall is not None:
                self._over.wait()
        except ConnectionError:
            pass  # the client had enough
