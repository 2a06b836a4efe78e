"""Games as SGF, the format of Go programs (https://www.red-bean.com/sgf/)."""

from __future__ import annotations

from collections.abc import Iterable

from octathlon.benchmarks.minigo.match import Played
from octathlon.benchmarks.minigo.rules import BLACK, KOMI

LETTERS = "abcdefghijklmnopqrs"


def collection(games: Iterable[Played], size: int) -> str:
    """All games, one after the other, as one file."""
    return "".join(_tree(game, size) for game in games)


def _tree(game: Played, size: int) -> str:
    players = ("candidate", "target") if game.number % 2 == 0 else ("target", "candidate")
    winner = "B" if game.winner == BLACK else "W"
    head = f"FF[4]GM[1]CA[UTF-8]AP[octathlon]SZ[{size}]KM[{KOMI}]RU[Chinese]GN[{game.number}]"
    head += f"PB[{players[0]}]PW[{players[1]}]RE[{winner}+]"
    moves = [f";{'BW'[turn % 2]}[{_point(move, size)}]" for turn, move in enumerate(game.moves)]
    return f"(;{head}\n{''.join(moves)})\n"


def _point(move: int, size: int) -> str:
    """Column and row as letters, from the top left; nothing for a pass."""
    return "" if move == size * size else LETTERS[move % size] + LETTERS[move // size]
