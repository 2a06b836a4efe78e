"""What would make a program wait for a GPU, seen without one."""

import pytest
import torch

from octathlon.harness.synchronisations import count_synchronisations

CPU = torch.device("cpu")


def seen(work) -> int:
    return sum(count_synchronisations(CPU, work).values())


WAITS = {
    "item": lambda x: x[0].item(),
    "float": lambda x: float(x[0]),
    "if": lambda x: 1 if x[0] > 0 else 2,
    "tolist": lambda x: x.tolist(),
    "numpy": lambda x: x.numpy(),
    "cpu": lambda x: x.cpu(),
    "as an index": lambda x: [1, 2, 3][(x[0] * 0).long()],
    "nonzero": lambda x: x.nonzero(),
    "where without values": lambda x: torch.where(x > 0),
    "masked_select": lambda x: x.masked_select(x > 0),
    "unique": lambda x: x.unique(),
    "a mask as index": lambda x: x[x > 0],
    "assignment by a mask": lambda x: x.clone().__setitem__(x > 0, x[x > 0]),
    "repeats without their sum": lambda x: x.repeat_interleave(torch.tensor([1, 2, 3])),
    "bincount": lambda x: x.long().bincount(),
}
GOES_ON = {
    "arithmetic": lambda x: (x * 2).sum().sqrt(),
    "where": lambda x: torch.where(x > 0, x, 0 * x),
    "masked_fill": lambda x: x.masked_fill(x > 0, 1.0),
    "an index": lambda x: x[torch.tensor([0, 2])],
    "assignment by an index": lambda x: x.clone().__setitem__(torch.tensor([0]), x[:1]),
    "repeats and their sum": lambda x: x.repeat_interleave(torch.tensor([1, 2, 3]), output_size=6),
    "sort": lambda x: x.sort(),
    "shapes": lambda x: x.view(len(x), x.shape[0] // 3),
}


@pytest.mark.parametrize("name", WAITS)
def test_what_waits_is_seen(name):
    assert seen(lambda: WAITS[name](torch.arange(3.0) + 1)) >= 1


@pytest.mark.parametrize("name", GOES_ON)
def test_what_does_not_wait_is_not_counted(name):
    assert seen(lambda: GOES_ON[name](torch.arange(3.0) + 1)) == 0


def test_a_backward_pass_is_looked_into():
    class Peeks(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 1

        @staticmethod
        def backward(ctx, gradient):
            return gradient * len(gradient.nonzero())

    def work():
        x = torch.ones(3, requires_grad=True)
        Peeks.apply(x).sum().backward()

    assert count_synchronisations(CPU, work) == {"aten.nonzero.default": 1}
