"""Download one large file: mirrors in order, resumed after any interruption, verified before it appears.

Pooch, Snakemake's http storage and `curl --retry` do not resume in a retry.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from octathlon.archives.checksum import Declared, WrongBytes
from octathlon.archives.mirror import Absent, Interrupted, Refused, Walled, ask
from octathlon.archives.part import Part
from octathlon.errors import OctathlonError
from octathlon.names import without_login


class NotGiven(OctathlonError):
    """No source gives the file."""


class NotThere(NotGiven):
    """Every source says that it has no such file."""


class LoginPage(NotThere):
    """A source answers as those do that want a login first, and no other has the file."""


def download(
    urls: Sequence[str],
    destination: Path,
    *,
    size: int | None = None,
    about: int | None = None,
    most: int | None = None,
    checksum: str | None = None,
    algorithm: str = "sha256",
    timeout: float = 60,
    attempts: int = 5,
    sleep: Callable[[float], None] = time.sleep,
) -> str:
    """Download the first of `urls` (http, https, file) that gives the declared bytes; return their checksum.

    A mirror is left at once when it has not got the file or gives wrong bytes, and after `attempts` requests
    in a row that brought no new byte. Silence for `timeout` seconds ends a request.

    Args:
        size: exact bytes, if known.
        about: approximate bytes, if known. What a mirror announces is compared before a byte is taken.
        most: bytes that the file must not exceed.
        checksum: "md5:…", "sha256:…" or several with blanks between, if known.
        algorithm: of the checksum that is returned.
        sleep: waits between two requests, given seconds (1, 2, 4 … up to 60).

    Raises:
        NotGiven: if no mirror gives the declared bytes (naming what each answered): NotThere, if none has such a
            file, and LoginPage, if one might after a login.
        OctathlonError: if the disk is too small, or if another process is downloading the same file.
    """
    answers: dict[str, Exception] = {}
    declared = Declared(size=size, about=about, most=most, checksum=checksum, algorithm=algorithm)
    with Part(destination, declared) as part:
        if size is not None:
            part.check_room(size)
        for url in urls:
            try:
                _from_mirror(url, part, timeout, attempts, sleep)
                return part.publish()
            except (Refused, WrongBytes) as answer:
                answers[without_login(url)] = answer
    told = "; ".join(f"{url}: {answer}" for url, answer in answers.items())
    raise _kind(answers.values())(
        f"{destination.name}: no source gives it ({told}); check the network and the source, then rerun"
    )


def _kind(answers: Collection[Exception]) -> type[NotGiven]:
    if not all(isinstance(answer, Absent) for answer in answers):
        return NotGiven
    return LoginPage if any(isinstance(answer, Walled) for answer in answers) else NotThere


def _from_mirror(url: str, part: Part, timeout: float, attempts: int, sleep: Callable[[float], None]) -> None:
    """Complete `part` from one mirror."""
    failures, furthest, spliced = 0, part.position, False
    while True:
        resumed = part.position > 0
        try:
            ask(url, part, timeout)
            return part.verify()
        except WrongBytes:
            if spliced or not resumed:
                raise
            spliced = True  # perhaps parts of two versions: ask once for a whole one
        except Interrupted as interruption:
            failures = 0 if part.position > furthest else failures + 1
            furthest = max(furthest, part.position)
            if failures == attempts:
                raise Refused(f"{interruption}, {attempts} times") from None
            sleep(min(2**failures, 60))
