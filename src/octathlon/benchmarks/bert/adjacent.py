"""Parameters that lie one behind the other in one storage, so that one matrix product can use them all at once.

Each stays a parameter of its own, with its own name, gradient and trust ratio; no step copies them together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn


class Adjacent(nn.Module):
    """A module with groups of adjacent parameters, which stay so when it is moved, converted or copied.

    Subclasses call `lay_out` once their parameters exist.
    """

    def groups(self) -> Iterator[tuple[Sequence[nn.Parameter], int]]:
        """Parameters of like rows, and the rows of their storage: theirs together, or more, which are 0 then."""
        raise NotImplementedError

    @torch.no_grad()
    def lay_out(self) -> None:
        """Give each group one storage."""
        for parts, rows in self.groups():
            storage = parts[0].new_zeros(rows, *parts[0].shape[1:])
            start = 0
            for part in parts:
                place = storage[start : start + len(part)]
                place.copy_(part)
                part.data = place
                start += len(part)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Adjacent:
        super()._apply(fn, recurse)
        self.lay_out()
        return self

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self.lay_out()


class _Joined(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: int, *parts: Tensor) -> Tensor:
        ctx.lengths = [len(part) for part in parts]
        return parts[0].detach().as_strided((rows, *parts[0].shape[1:]), parts[0].stride())

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        return None, *gradient[: sum(ctx.lengths)].split(ctx.lengths)


def joined(parts: Sequence[Tensor], rows: int) -> Tensor:
    """A group's storage, of `rows` rows: no copy, and the parts' gradients are views of its gradient.

    Raises:
        RuntimeError: if there is no such storage.
    """
    return _Joined.apply(rows, *parts)
