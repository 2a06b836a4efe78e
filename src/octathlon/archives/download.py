"""Download one large file: mirrors in order, resumed after any interruption, verified before it appears.

A file that changed on the server is never spliced with what was there: a request for the rest names the
version that it belongs to (If-Range, RFC 9110 section 13.1.5), and without such a name it is made only where
a declared checksum would tell. Pooch, Snakemake's http storage and `curl --retry` do not resume in a retry.
"""

from __future__ import annotations

import http.client
import re
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from email.message import Message
from pathlib import Path
from typing import Any

from octathlon.archives.checksum import CHUNK, WrongBytes
from octathlon.archives.part import Part
from octathlon.errors import OctathlonError

RETRIED = {408, 425, 429, 500, 502, 503, 504}
ABSENT = {403, 404, 410}  # object stores answer 403 for a name that they have not got
CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+)")


class NotThere(OctathlonError):
    """Every source says that it has no such file."""


class _Interrupted(Exception):
    """The transfer stopped short; another request to the same mirror may bring the rest."""


class _Refused(Exception):
    """The mirror does not give the file."""


class _Absent(_Refused):
    """The mirror has no such file."""


def download(
    urls: Sequence[str],
    destination: Path,
    *,
    size: int | None = None,
    checksum: str | None = None,
    timeout: float = 60,
    attempts: int = 5,
    sleep: Callable[[float], None] = time.sleep,
) -> str:
    """Download the first of `urls` (http, https, file) that gives the declared bytes; return their sha256.

    A mirror is left at once when it has not got the file or gives wrong bytes, and after `attempts` requests
    in a row that brought no new byte. Silence for `timeout` seconds ends a request.

    Args:
        size: exact bytes, if known.
        checksum: "md5:…" or "sha256:…", if known.
        sleep: waits between two requests, given seconds (1, 2, 4 … up to 60).

    Raises:
        NotThere: if no mirror has such a file.
        OctathlonError: if no mirror gives the declared bytes (naming what each answered), if the disk is too
            small, or if another process is downloading the same file.
    """
    answers: dict[str, Exception] = {}
    with Part(destination, checksum) as part:
        if size is not None:
            part.check_room(size)
        for url in urls:
            try:
                _from_mirror(url, part, size, timeout, attempts, sleep)
                return part.publish()
            except (_Refused, WrongBytes) as answer:
                answers[url] = answer
    kind = NotThere if all(isinstance(answer, _Absent) for answer in answers.values()) else OctathlonError
    told = "; ".join(f"{url}: {answer}" for url, answer in answers.items())
    raise kind(
        f"{destination.name}: no source gives it ({told}); check the network and the source, then rerun"
    )


def _from_mirror(
    url: str, part: Part, size: int | None, timeout: float, attempts: int, sleep: Callable[[float], None]
) -> None:
    """Complete `part` from one mirror."""
    failures, furthest, spliced = 0, part.position, False
    while True:
        resumed = part.position > 0
        try:
            _request(url, part, size, timeout)
            return part.verify(size)
        except WrongBytes:
            if spliced or not resumed:
                raise
            spliced = True  # perhaps parts of two versions: ask once for a whole one
        except _Interrupted as interruption:
            failures = 0 if part.position > furthest else failures + 1
            furthest = max(furthest, part.position)
            if failures == attempts:
                raise _Refused(f"{interruption}, {attempts} times") from None
            sleep(min(2**failures, 60))


def _request(url: str, part: Part, size: int | None, timeout: float) -> None:
    """Append to `part` what one request brings of the rest."""
    if part.position == size:
        return  # all was there when an earlier process was killed
    query = _query(url, part)
    with _answers(url, part, timeout), urllib.request.urlopen(query, timeout=timeout) as response:  # noqa: S310
        total = _accept(url, response, part, size)
        with _progress(part, total) as show:
            for chunk in _chunks(response):
                part.write(chunk)
                show(part.position)
                if size is not None and part.position > size:
                    return  # `verify` says it
        if total is not None and part.position < total:
            raise _Interrupted(f"cut after {part.position:,} of {total:,} bytes")


def _query(url: str, part: Part) -> urllib.request.Request:
    """A request for the rest where a splice would be noticed, else for the whole."""
    headers = {"User-Agent": "octathlon"}
    origin = part.origin()
    validator = origin.get("validator") if origin.get("url") == url else None
    if part.position and (validator or part.checksum):
        headers["Range"] = f"bytes={part.position}-"
        if validator:
            headers["If-Range"] = validator
    return urllib.request.Request(url, headers=headers)  # noqa: S310 - sources.py lets only http, https, file pass


@contextmanager
def _answers(url: str, part: Part, timeout: float) -> Iterator[None]:
    """Sort what may go wrong with a request into what may be tried again and what may not."""
    try:
        yield
    except urllib.error.HTTPError as error:
        if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
            _beyond_the_end(error, part)
        else:
            kind = _Interrupted if error.code in RETRIED else _Absent if error.code in ABSENT else _Refused
            raise kind(f"{error.code} {error.reason}") from None
    except TimeoutError:
        raise _Interrupted(f"silent for {timeout:g} s") from None
    except (OSError, http.client.HTTPException) as error:
        reason = str(getattr(error, "reason", "") or error) or type(error).__name__
        raise (_Absent if url.startswith("file:") else _Interrupted)(reason) from None


def _beyond_the_end(error: urllib.error.HTTPError, part: Part) -> None:
    """The server has nothing after `part`: either that is all of it, or it is not a part of this version."""
    if error.headers.get("Content-Range") != f"bytes */{part.position}":
        part.restart()
        raise _Interrupted("is shorter than the part that was there")


def _accept(url: str, response: Any, part: Part, size: int | None) -> int | None:
    """Make `part` ready for the bytes of `response`; return the file's size where it is known."""
    partial = response.status == http.client.PARTIAL_CONTENT
    total = _continued(url, response, part) if partial else _length(response)
    if size is not None and total not in (None, size):
        raise _Refused(f"has {total:,} bytes instead of {size:,}")
    if not partial:
        part.restart(url, _validator(response.headers))
    if total is not None:
        part.check_room(total)
    return total if size is None else size


def _continued(url: str, response: Any, part: Part) -> int:
    """The file's size, from a partial response that goes on where `part` ends, with the same version."""
    origin = part.origin()
    other_version = origin.get("url") == url and origin.get("validator") != _validator(response.headers)
    found = CONTENT_RANGE.match(response.headers.get("Content-Range", ""))
    if other_version or not found or int(found[1]) != part.position:
        part.restart()
        raise _Interrupted("answered with another range than the one asked for")
    return int(found[2])


def _validator(headers: Message) -> str | None:
    """What names the version of a resource: its strong ETag, else its Last-Modified."""
    etag = headers.get("ETag", "W/")
    return headers.get("Last-Modified") if etag.startswith("W/") else etag


def _length(response: Any) -> int | None:
    """The announced length of the body."""
    text = response.headers.get("Content-Length", "")
    return int(text) if text.isdecimal() else None


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
