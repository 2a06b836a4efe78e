"""The board of a game: the end of the first game that a run left beside its log, as SGF.

The file is as hostile as a log: its place is built from plain names only, and what it says is read by patterns.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from octathlon.report.beside import files_of
from octathlon.report.results import Entry

LARGEST = 1 << 20
"""Bytes of a file that are read."""
GAME = re.compile(r"\(;(?P<head>[^;]{0,2000})(?P<moves>(?:\s*;[BW]\[[a-s]{0,2}\]){0,5000})\s*\)")
PROPERTY = re.compile(r"(SZ|PB|PW|RE)\[([A-Za-z0-9+.? -]{1,40})\]")
MOVE = re.compile(r";([BW])\[([a-s]{2})?\]")
SIDE = 100.0
"""Of the drawn board."""


@dataclass(frozen=True, slots=True)
class Stone:
    """A stone, in the units of the drawing."""

    x: float
    y: float
    colour: str
    """black or white"""
    last: bool


@dataclass(frozen=True, slots=True)
class Board:
    """A board after the last move of a game."""

    lines: tuple[float, ...]
    """Where the lines are, across and down."""
    radius: float
    stones: tuple[Stone, ...]
    title: str


def board_of(entry: Entry, tree: Path) -> Board | None:
    """The first game that a run of `entry` left in the results tree; None where there is none."""
    for run in entry.runs:
        if path := files_of(entry, run, tree).get("games"):
            with (tree / path).open("rb") as file:
                return _board(file.read(LARGEST).decode("ascii", "replace"), run.file)
    return None


def _board(text: str, name: str) -> Board | None:
    game = GAME.match(text)
    if not game:
        return None
    head = dict(PROPERTY.findall(game["head"]))
    if not re.fullmatch(r"1?\d", head.get("SZ", "")) or not 2 <= int(head["SZ"]) <= 19:
        return None
    size, moves = int(head["SZ"]), MOVE.findall(game["moves"])
    step = SIDE / size
    lines = tuple(step * (line + 0.5) for line in range(size))
    points, last = _replay(moves, size)
    stones = tuple(
        Stone(lines[x], lines[y], {"B": "black", "W": "white"}[colour], (x, y) == last)
        for (x, y), colour in sorted(points.items())
    )
    players = f"{head.get('PB', 'Black')} (Black) against {head.get('PW', 'White')}"
    return Board(
        lines, step * 0.46, stones, f"{name}: {players}, {len(moves)} moves, {head.get('RE', 'no result')}"
    )


Points = dict[tuple[int, int], str]


def _replay(moves: list[tuple[str, str]], size: int) -> tuple[Points, tuple[int, int] | None]:
    """The stones on the board in the end, and where the last move was if it was no pass."""
    points: Points = {}
    last = None
    for colour, letters in moves:
        last = (ord(letters[0]) - ord("a"), ord(letters[1]) - ord("a")) if letters else None
        if last and max(last) < size:
            points[last] = colour
            for near in _beside(last, size):
                if points.get(near, colour) != colour:
                    _take(points, near, size)
    return points, last


def _take(points: Points, start: tuple[int, int], size: int) -> None:
    """Take the chain at `start` off the board if it has no liberty."""
    chain, waiting = {start}, [start]
    while waiting:
        for near in _beside(waiting.pop(), size):
            if near not in points:
                return
            if points[near] == points[start] and near not in chain:
                chain.add(near)
                waiting.append(near)
    for stone in chain:
        del points[stone]


def _beside(point: tuple[int, int], size: int) -> Iterator[tuple[int, int]]:
    x, y = point
    for near in ((x - 1, y), (x + 1, y), (x, y - 1), (x, y + 1)):
        if min(near) >= 0 and max(near) < size:
            yield near
