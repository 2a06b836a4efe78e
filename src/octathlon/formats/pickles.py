"""Read pickles of plain data and of a few known classes: a pickle is a program, and this is a small machine for it.

Only the instructions that arrays and state_dicts need are there; no other name than the given ones is looked up. What
a few bytes could make large is bounded: the memo is a dictionary (pickle's own is an array, as long as its highest
index), keys are names, so that no tuple of tuples is hashed, and a call has a tuple of arguments that is already there.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from octathlon.formats.errors import FormatError

SIZE_LIMIT = 1 << 27
"""Bytes of a file. The published backbones have 87 and 102 million."""
OPERATIONS = 100_000
"""No more instructions: the published backbones, of some 300 tensors each, need a tenth."""

TEXT_LIMIT = 1 << 16
"""Characters of a text. Longer ones are bytes of arrays, one in each character: others would be four times as large in
memory as in the file."""

PLAIN = (
    *(pickle.PROTO, pickle.FRAME, pickle.STOP, pickle.MARK, pickle.NONE, pickle.NEWTRUE, pickle.NEWFALSE),
    *(pickle.BININT, pickle.BININT1, pickle.BININT2, pickle.LONG1, pickle.BINFLOAT),
    *(pickle.BINSTRING, pickle.SHORT_BINSTRING, pickle.SHORT_BINUNICODE),
    *(pickle.BINBYTES, pickle.SHORT_BINBYTES, pickle.BINPUT, pickle.LONG_BINPUT, pickle.MEMOIZE),
    *(pickle.BINGET, pickle.LONG_BINGET, pickle.EMPTY_TUPLE, pickle.TUPLE, pickle.TUPLE1, pickle.TUPLE2),
    *(pickle.TUPLE3, pickle.EMPTY_LIST, pickle.APPEND, pickle.APPENDS, pickle.SETITEM, pickle.SETITEMS),
    *(pickle.GLOBAL, pickle.STACK_GLOBAL, pickle.BUILD, pickle.BINPERSID),
)
"""The instructions that are taken as Python has them, of protocols 1 to 4."""


LAST_OF_A_BYTE = 0xC3
"""No UTF-8 of a character below 256 has a larger byte."""


@contextmanager
def weights_file(path: Path) -> Iterator[BinaryIO]:
    """A file of weights, in memory, so that no length that it claims is more than it has.

    Raises:
        FormatError: if it can't be read or is too large; and for whatever is raised while it is open, as a hostile
            pickle makes its reader raise anything.
    """
    try:
        if path.stat().st_size > SIZE_LIMIT:
            raise ValueError(f"more than {SIZE_LIMIT:,} bytes")
        yield io.BytesIO(path.read_bytes())
    except Exception as error:
        reason = " ".join(f"{error or type(error).__name__}"[:300].split())
        raise FormatError(f"{path}: not the published weights ({reason}); fetch the archive again") from None


def load(
    file: BinaryIO,
    names: Mapping[tuple[str, str], Any],
    persistent: Callable[[Any], Any] | None = None,
) -> Any:
    """What a pickle holds; of several in a file, the next.

    Args:
        file: in memory.
        names: (module, name) -> what stands in for it: strings and subclasses of StandIn.
        persistent: what stands in for an object that is kept outside of the pickle.

    Raises:
        ValueError: if it needs any other instruction or name, or too many. Damage raises anything.
    """
    return _Machine(file, names, persistent).load()


class StandIn:
    """Takes the place of a class. It ignores its state, unless it says otherwise."""

    def __setstate__(self, _state: Any) -> None:
        pass


class Names(StandIn, dict):
    """A dictionary whose keys are strings."""

    def __setitem__(self, key: Any, value: Any) -> None:
        if type(key) is not str:
            raise ValueError("a key that is no name")
        super().__setitem__(key, value)


def _counted(run: Callable[[_Machine], None]) -> Callable[[_Machine], None]:
    def step(machine: _Machine) -> None:
        machine.left -= 1
        if machine.left < 0:
            raise ValueError(f"more than {OPERATIONS:,} instructions")
        run(machine)

    return step


class _Machine(pickle._Unpickler):  # the one in Python: that in C can neither count nor choose
    def __init__(
        self,
        file: BinaryIO,
        names: Mapping[tuple[str, str], Any],
        persistent: Callable[[Any], Any] | None,
    ) -> None:
        super().__init__(file, encoding="latin1")
        self._names, self._persistent, self.left = names, persistent, OPERATIONS

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self._names:
            raise ValueError(f"it asks for {module:.100}.{name:.100}, which no weights need")
        return self._names[module, name]

    def persistent_load(self, identity: Any) -> Any:
        if self._persistent is None:
            raise ValueError("a storage where none belongs")
        return self._persistent(identity)

    def _refuse(self) -> None:
        raise ValueError("an instruction that no weights need")

    def _text(self) -> None:
        content = self.read(int.from_bytes(self.read(4), "little"))
        if len(content) > TEXT_LIMIT and max(content) > LAST_OF_A_BYTE:
            raise ValueError("a text longer than any name")
        self.append(str(content, "utf-8"))

    def _empty_names(self) -> None:
        self.append(Names())

    def _call(self) -> None:
        if type(self.stack[-1]) is not tuple:  # anything else would be made a tuple, and be twice in memory
            raise ValueError("a call without arguments")
        self.load_reduce()

    dispatch = dict.fromkeys(range(256), _refuse)
    dispatch |= {code: _counted(pickle._Unpickler.dispatch[code]) for (code,) in PLAIN}
    dispatch |= {
        pickle.BINUNICODE[0]: _counted(_text),
        pickle.EMPTY_DICT[0]: _counted(_empty_names),
        pickle.REDUCE[0]: _counted(_call),
    }
