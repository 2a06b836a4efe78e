"""Compiled parts compute what they compute as written, and are compiled once: for all layers and all batches."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn

from octathlon.benchmarks.bert.model import Dense, Sizes
from octathlon.benchmarks.maskrcnn.backbone import Bottleneck
from octathlon.errors import OctathlonError
from octathlon.harness.trainer import compile_parts

pytestmark = pytest.mark.skipif(not shutil.which("g++"), reason="no C++ compiler: apt install g++")


def sizes() -> Sizes:
    numbers = {"vocabulary": 8, "positions": 8, "hidden": 16, "layers": 1, "heads": 2, "inner": 32}
    return Sizes(**numbers, hidden_dropout=0.0, attention_dropout=0.0)


def channels_last(values: Tensor) -> Tensor:
    return values.to(memory_format=torch.channels_last) if values.ndim == 4 else values


def step(layers: nn.Sequential, inputs: Sequence[Tensor]) -> list[Tensor]:
    """What comes out, all gradients, and the weights after an update."""
    inputs = [each.clone().requires_grad_() for each in inputs]
    for layer in layers:
        inputs = [layer(*inputs), *inputs[1:]]
    inputs[0].square().mean().backward()
    gradients = [parameter.grad for parameter in layers.parameters()]
    torch.optim.SGD(layers.parameters(), lr=0.1).step()
    return [inputs[0].detach(), *gradients, *(parameter.detach() for parameter in layers.parameters())]


@pytest.mark.parametrize(
    ("layers", "batches"),
    [
        ([Dense(sizes()), Dense(sizes())], [[(tokens, 16)] * 2 for tokens in (7, 12)]),
        (
            [Bottleneck(8, 2, 1), Bottleneck(8, 2, 1)],
            [[(2, 8, *shape)] for shape in ((6, 9), (8, 5))],
        ),
    ],
    ids=["bert", "maskrcnn"],
)
def test_a_step_is_the_uncompiled_one_without_compiling_anew(
    layers: list[nn.Module], batches: list[list[tuple[int, ...]]]
) -> None:
    torch.compiler.reset()
    torch.manual_seed(1)
    written = nn.Sequential(*layers).to(memory_format=torch.channels_last)
    compiled = copy.deepcopy(written)
    compile_parts(compiled, "default", fixed_shapes=False)
    for number, shapes in enumerate(batches):
        inputs = [channels_last(torch.randn(shape)) for shape in shapes]
        with torch.compiler.set_stance("fail_on_recompile" if number else "default"):
            torch.testing.assert_close(step(compiled, inputs), step(written, inputs), rtol=1e-4, atol=1e-6)


def test_without_a_compiler_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(OctathlonError, match="no-such-compiler is not there: install a C"):
        compile_parts([nn.Linear(1, 1)], "default", fixed_shapes=True)
