"""One request to one mirror for the rest of a file, and what its answer means.

A file that changed on the server is never spliced with what was there: a request for the rest names the
version that it belongs to (If-Range, RFC 9110 section 13.1.5), and without such a name it is made only where
a declared checksum would tell.
"""

from __future__ import annotations

import base64
import http.client
import re
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.message import Message
from typing import Any
from urllib.parse import unquote_to_bytes

from octathlon.archives.checksum import CHUNK, WrongBytes
from octathlon.archives.part import Part
from octathlon.names import LOGIN, without_login

PAGES = {"text/html", "application/xhtml+xml"}
PEEKED = 512
RETRIED = {408, 425, 429, 500, 502, 503, 504}
ABSENT = {403, 404, 410}  # object stores answer 403, in XML, for a name that they have not got
NUMBER = r"(\d{1,18})"  # more bytes than any file has
CONTENT_RANGE = re.compile(rf"bytes {NUMBER}-\d+/{NUMBER}", re.ASCII)
WHOLE, LOCAL = http.client.OK, None
"""How a server, and a file of this machine, answers with all of a file."""


class Interrupted(Exception):
    """The transfer stopped short; another request to the same mirror may bring the rest."""


class Refused(Exception):
    """The mirror does not give the file."""


class Absent(Refused):
    """The mirror has no such file."""


class Walled(Absent):
    """The mirror wants a login first."""


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows no server away from http and https: urllib would go on to ftp. No other host is told the login."""

    def redirect_request(self, req, fp, code, msg, headers, newurl):
        if not newurl.startswith(("http://", "https://")):
            raise urllib.error.HTTPError(newurl, code, "sends to another protocol", headers, fp)
        follow = super().redirect_request(req, fp, code, msg, headers, without_login(newurl))
        if (follow.type, follow.host) == (req.type, req.host):
            follow.unredirected_hdrs |= req.unredirected_hdrs
        return follow


OPENER = urllib.request.build_opener(_Redirects)


def ask(url: str, part: Part, timeout: float) -> None:
    """Append to `part` what one request brings of the rest."""
    url, login = without_login(url), LOGIN.search(url)
    if part.position == part.declared.size:
        return  # all was there when an earlier process was killed
    with _answers(url, part, timeout), OPENER.open(_query(url, login, part), timeout=timeout) as response:
        total = _accept(url, response, part)
        with _progress(part, total) as show:
            for chunk in _chunks(response):
                part.write(chunk)
                show(part.position)
                if part.declared.exceeded(part.position):
                    return  # `verify` says it
        if total is not None and part.position < total:
            raise Interrupted(f"cut after {part.position:,} of {total:,} bytes")


def _query(url: str, login: re.Match[str] | None, part: Part) -> urllib.request.Request:
    """A request for the rest where a splice would be noticed, else for the whole."""
    headers = {"User-Agent": "octathlon"}
    origin = part.origin()
    validator = origin.get("validator") if origin.get("url") == url else None
    if part.position and (validator or part.declared.checksum):
        headers["Range"] = f"bytes={part.position}-"
        if validator:
            headers["If-Range"] = validator
    query = urllib.request.Request(url, headers=headers)  # noqa: S310 - sources.py lets only http, https, file pass
    if login:
        secret = base64.b64encode(unquote_to_bytes(login[0].removesuffix("@"))).decode()
        query.add_unredirected_header("Authorization", f"Basic {secret}")
    return query


@contextmanager
def _answers(url: str, part: Part, timeout: float) -> Iterator[None]:
    """Sort what may go wrong with a request into what may be tried again and what may not."""
    try:
        yield
    except urllib.error.HTTPError as error:
        if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
            _beyond_the_end(error, part)
        else:
            raise _kind(error)(f"{error.code} {error.reason}") from None
    except (ValueError, http.client.InvalidURL) as error:  # of the URL, or of one that a server sends to
        raise Refused(f"leads to an address that is none ({error})") from None
    except TimeoutError:
        raise Interrupted(f"silent for {timeout:g} s") from None
    except (OSError, http.client.HTTPException) as error:
        reason = str(getattr(error, "reason", "") or error) or type(error).__name__
        raise (Absent if url.startswith("file:") else Interrupted)(reason) from None


def _kind(error: urllib.error.HTTPError) -> type[Exception]:
    if error.code == 401 or (error.code == 403 and error.headers.get_content_type() in PAGES):
        return Walled
    return Interrupted if error.code in RETRIED else Absent if error.code in ABSENT else Refused


def _beyond_the_end(error: urllib.error.HTTPError, part: Part) -> None:
    """The server has nothing after `part`: either that is all of it, or it is not a part of this version.

    It is not all if more was announced before.
    """
    announced = part.origin().get("bytes") or part.position
    if error.headers.get("Content-Range") != f"bytes */{part.position}" or part.position < announced:
        part.restart()
        raise Interrupted("is shorter than the part that was there")


def _accept(url: str, response: Any, part: Part) -> int | None:
    """Make `part` ready for the bytes of `response`; return the file's size where it is known."""
    if _is_page(response):
        raise Walled("answers with a web page instead of the file")
    partial = response.status == http.client.PARTIAL_CONTENT
    if not partial and response.status not in (WHOLE, LOCAL):
        raise Refused(f"{response.status} {response.reason}, without the file")
    total = _continued(url, response, part) if partial else _length(response)
    if total is not None:
        try:
            part.declared.check_size(total)
        except WrongBytes as offer:
            raise Refused(f"offers {offer}") from None
    if not partial:
        part.restart(url, _validator(response.headers), total)
    if total is not None:
        part.check_room(total)
    return part.declared.size or total


def _is_page(response: Any) -> bool:
    """Whether a web page comes: by its type, which alone might be a server's default, and by how it begins."""
    declared = response.headers.get_content_type() in PAGES
    return declared and response.peek(PEEKED)[:PEEKED].lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<")


def _continued(url: str, response: Any, part: Part) -> int:
    """The file's size, from a partial response that goes on where `part` ends, with the same version."""
    origin = part.origin()
    other_version = origin.get("url") == url and origin.get("validator") != _validator(response.headers)
    found = CONTENT_RANGE.match(response.headers.get("Content-Range", ""))
    if other_version or not found or int(found[1]) != part.position:
        part.restart()
        raise Interrupted("answered with another range than the one asked for")
    return int(found[2])


def _validator(headers: Message) -> str | None:
    """What names the version of a resource: its strong ETag, else its Last-Modified."""
    etag = headers.get("ETag", "W/")
    return headers.get("Last-Modified") if etag.startswith("W/") else etag


def _length(response: Any) -> int | None:
    """The announced length of the body; a number that is none, or that no file can have, is no announcement."""
    text = response.headers.get("Content-Length", "")
    return int(text) if re.fullmatch(NUMBER, text, re.ASCII) else None


def _chunks(response: Any) -> Iterator[bytes]:
    """The body as it arrives, as far as it was announced: a server may keep the connection open after it."""
    left = _length(response)
    while left != 0 and (chunk := response.read1(CHUNK if left is None else min(CHUNK, left))):
        yield chunk
        left = None if left is None else left - len(chunk)


@contextmanager
def _progress(part: Part, total: int | None) -> Iterator[Callable[[int], None]]:
    """A function that shows the bytes so far, where someone is looking."""
    if not sys.stderr.isatty():
        yield lambda _position: None
        return
    from rich import progress
    from rich.console import Console

    columns = (
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.DownloadColumn(),
        progress.TransferSpeedColumn(),
        progress.TimeRemainingColumn(),
    )
    with progress.Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(part.destination.name, total=total, completed=part.position)
        yield lambda position: bar.update(task, completed=position)
