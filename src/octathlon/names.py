"""Words, names and places that config.yaml and the command line share."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

VERSION = "0.1.0"
"""Of this package, here and not in its metadata: in a container the code is not installed."""

DIVISIONS = ("closed", "open")
STATUSES = ("cloud", "onprem", "preview", "research")
"""As logged in submission_status."""

LARGEST_SEED = 2**32 - 1
"""What NumPy's and PyTorch's generators both take."""

MOST_CORES = 4096
"""More than any machine's: a thread for each is meant to run."""

LONGEST_FILE = 255
"""Bytes of a file's name on the file systems of Linux."""

LONGEST_PATH = 4095
"""Bytes of a path there."""

LONGEST = 200
"""Bytes of a name that becomes a file's or folder's: some is added to it."""


def organisation(text: str) -> str:
    """A submitter's name, in any script, in Unicode's composed form and with single blanks.

    Raises:
        ValueError: with a sentence, if it can't become a folder's name.
    """
    return _checked(" ".join(text.split()), " ._+-&,'()")


def system(text: str) -> str:
    """A system's name, which is a folder's as it stands: like a submitter's, but without blanks.

    Raises:
        ValueError: with a sentence, if it can't become a folder's name.
    """
    return _checked(text, "._+-")


def folder(name: str) -> str:
    """The folder of a submitter: rounds refuse blanks in the names of files."""
    return name.replace(" ", "_")


LOGIN = re.compile(r"(?<=://)[^/?#\s\"'<>]*@")
"""`user:password@` in an address."""


LOGINS = "OCTATHLON_LOGINS"
"""The variable in which the workflow hands over addresses with logins: command lines are written down."""


def without_login(text: str) -> str:
    """A text, or an address, in which no address has a user and a password: what may be shown and written."""
    return LOGIN.sub("", text)


def with_login(address: str, environment: Mapping[str, str]) -> str:
    """The address as the workflow was given it, if it has handed over a login for it."""
    known = environment.get(LOGINS, "").split()
    return next((full for full in known if without_login(full) == address), address)


def location(text: str) -> str:
    """A path or URL, in which the shell's short forms `~` and `~user` at the beginning are replaced.

    Raises:
        ValueError: with a sentence, if there is no such home, or if no file can have that path.
    """
    if not text or any(unicodedata.category(character) == "Cc" for character in text):
        raise ValueError(f"{text!r} is no path; give one without control characters")
    if "://" in text:
        try:
            _ = urlsplit(text).port
        except ValueError as error:
            shown = re.sub(r"://\S*@", "://", text)  # a password may have any sign in it
            reason = "write @, /, ? and # in its user and password as %40, %2F, %3F and %23"
            raise ValueError(f"{shown!r} is no URL ({error if shown == text else reason})") from None
    elif len(os.fsencode(text)) > LONGEST_PATH or any(
        len(os.fsencode(part)) > LONGEST_FILE for part in text.split("/")
    ):
        raise ValueError(f"{text[:57]!r}... is no path: too long for a file's name or path")
    path = os.path.expanduser(text)  # noqa: PTH111 - a Path would take a slash out of a URL
    if path.startswith("~"):
        raise ValueError(f"{text!r} is in no known home folder; write the path out, or ./{text}")
    return path


def obstacle(path: Path, *, is_folder: bool = True) -> str:
    """Why there can't be a folder (else a file) at `path`, in words; empty where nothing is in the way."""
    if any(len(os.fsencode(part)) > LONGEST_FILE for part in path.parts):
        return f"a part of it has more than {LONGEST_FILE} bytes"
    above = path.absolute().parents
    there = next(each for each in ((path, *above) if is_folder else above) if os.path.lexists(each))
    return "" if os.path.isdir(there) else f"{there} is no folder"  # noqa: PTH112 - is_dir() raises where it may not look


def _checked(text: str, signs: str) -> str:
    name = unicodedata.normalize("NFC", text)
    if not name[:1].isalnum():
        raise ValueError(f"{text!r} must begin with a letter or a digit")
    if (size := len(os.fsencode(name))) > LONGEST:
        raise ValueError(f"{text[:20]!r}... has {size} bytes; use at most {LONGEST}")
    for character in name:
        # Marks, such as vowel signs, belong to the letters of many scripts.
        if not (character.isalnum() or unicodedata.category(character).startswith("M") or character in signs):
            raise ValueError(f"{text!r} has {character!r} in it; use letters, digits and {signs.strip()}")
    return name
