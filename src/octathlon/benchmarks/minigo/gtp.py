"""Talk to a Go program over GTP 2 (https://www.lysator.liu.se/~gunnar/gtp/), e.g. GNU Go as referee or opponent."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from octathlon.benchmarks.minigo.rules import BLACK, KOMI

COLUMNS = "ABCDEFGHJKLMNOPQRST"
GNU_GO = ("gnugo", "--mode", "gtp", "--chinese-rules", "--positional-superko", "--never-resign")
"""GNU Go by this benchmark's rules. Players add `--capture-all-dead`: it then plays on until dead stones are taken."""


class Engine:
    """A running program with a board of `size` lines."""

    def __init__(self, process: subprocess.Popen[str], size: int) -> None:
        self._process, self.size = process, size
        self.ask(f"boardsize {size}", "clear_board", f"komi {KOMI}")

    def ask(self, *commands: str) -> list[str]:
        """The answers to commands, which are sent together.

        Raises:
            ValueError: if the program refuses one, or has ended.
        """
        return list(self._answers(commands))

    def play(self, colour: int, move: int) -> None:
        """Make a move."""
        self.ask(self.command(colour, move))

    def command(self, colour: int, move: int) -> str:
        """The command that makes a move."""
        return f"play {_colour(colour)} {self.vertex(move)}"

    def generate(self, colour: int) -> int:
        """Let the program move; returns its move."""
        return self.move(self.ask(f"genmove {_colour(colour)}")[0])

    def are_legal(self, colour: int, moves: Iterable[int]) -> list[bool]:
        """Whether each move may be made now."""
        commands = [f"is_legal {_colour(colour)} {self.vertex(move)}" for move in moves]
        return [answer == "1" for answer in self.ask(*commands)]

    def vertex(self, move: int) -> str:
        """A move as GTP spells it, e.g. A1 at the lower left."""
        if move == self.size**2:
            return "pass"
        return f"{COLUMNS[move % self.size]}{self.size - move // self.size}"

    def move(self, vertex: str) -> int:
        """A move from its spelling."""
        if vertex.lower() == "pass":
            return self.size**2
        return (self.size - int(vertex[1:])) * self.size + COLUMNS.index(vertex[0].upper())

    def _answers(self, commands: Sequence[str]) -> Iterator[str]:
        self._process.stdin.write("".join(f"{command}\n" for command in commands))
        self._process.stdin.flush()
        for command in commands:
            lines = []
            while (line := self._process.stdout.readline()) not in ("\n", ""):
                lines.append(line)
            answer = "".join(lines).strip()
            if not answer.startswith("="):
                raise ValueError(f"{command}: {answer or 'no answer'}")
            yield answer.removeprefix("=").strip()


@contextmanager
def engine(command: Sequence[str], size: int) -> Iterator[Engine]:
    """Start a program, and end it after the block."""
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield Engine(process, size)
        finally:
            process.kill()


def _colour(colour: int) -> str:
    return "black" if colour == BLACK else "white"
