"""Kinds of values that the command line takes, checked before a command begins. Imports little: `--help` is fast."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import click

from octathlon import names
from octathlon.errors import OctathlonError


class Checked(click.ParamType):
    """Text that a function takes, which raises a ValueError with a sentence for any other."""

    def __init__(self, name: str, check: Callable[[str], Any]) -> None:
        self.name = name
        self._check = check

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """What the function makes of the text; a default in its final form stays as it is."""
        if not isinstance(value, str):
            return value
        try:
            return self._check(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


class Place(click.Path):
    """A path whose faults are told like those that a command itself meets, as one sentence with exit code 1."""

    remedy = "correct the path, or run the step that makes it first"

    def fail(
        self, message: str, param: click.Parameter | None = None, ctx: click.Context | None = None
    ) -> NoReturn:
        """Say which option or argument it is, and what to do."""
        where = f"{param.opts[-1]}: " if param else ""
        raise OctathlonError(f"{where}{message.removesuffix('.')}; {self.remedy}")


class Writable(Place):
    """A file or folder to be written: its folder is there or can be made."""

    remedy = "move that away or choose another path"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The path."""
        path = super().convert(value, param, ctx)
        if words := names.obstacle(path, is_folder=self.dir_okay):
            self.fail(f"{str(path)[:60]!r} can't be written: {words}", param, ctx)
        return path


def _mapping(text: str) -> dict[str, Any]:
    """A JSON object."""
    try:
        value = json.loads(text, parse_constant=_refuse)
    except RecursionError:
        raise ValueError("not JSON: too deep") from None
    except ValueError as error:
        raise ValueError(f"not JSON: {error}") from None
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")
    return value


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no number in it")


MAPPING = Checked("JSON", _mapping)
SUBMITTER = Checked("name", names.organisation)
SYSTEM = Checked("name", names.system)
SOURCE = Checked("place", names.location)
SEED = click.IntRange(0, names.LARGEST_SEED)

INPUT_FILE = Place(exists=True, dir_okay=False, path_type=Path)
INPUT_FOLDER = Place(exists=True, file_okay=False, path_type=Path)
OUTPUT_FILE = Writable(dir_okay=False, path_type=Path)
OUTPUT_FOLDER = Writable(file_okay=False, path_type=Path)
