"""What runs need not import, they do not: PyTorch's compiler alone takes as long as the rest of PyTorch."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from test_weights import made_up
from torch import nn

from octathlon import registry
from octathlon.nn.optimizers import UncompiledSGD

TRAIN = """
import json, sys
from octathlon.cli import octathlon

for arguments in json.load(sys.stdin):
    octathlon(arguments, standalone_mode=False)
print(*sorted({"torch", "torchvision", "torch._dynamo", "torch._inductor", "sympy"} & set(sys.modules)))
"""
ASKED = """
import sys
from octathlon.harness.imports import swift_imports

with swift_imports():
    import torchvision
before = "torch._dynamo" in sys.modules
mine = sys.modules["torchvision.ops.roi_align"].is_compile_supported
answers = [mine(device) for device in ("cpu", "cuda")]
from torch._dynamo.utils import is_compile_supported
print(before, mine is is_compile_supported, answers == [is_compile_supported(device) for device in ("cpu", "cuda")])
"""
COMPILER_WANTED = """
import sys
from octathlon.harness.imports import swift_imports

with swift_imports():
    import torch._dynamo
import torch
layer = torch.compile(torch.nn.Linear(2, 2), backend="eager")
print(tuple(layer(torch.ones(1, 2)).shape), sys.modules["torch._dynamo.utils"] is torch._dynamo.utils)
"""


def said(code: str, told: str = "") -> str:
    """The last line that a Python of its own prints."""
    command = [sys.executable, "-W", "ignore", "-c", code]
    return subprocess.run(
        command, input=told, capture_output=True, text=True, check=True
    ).stdout.splitlines()[-1]


def options(name: str, folder: Path) -> list[str]:
    folder.mkdir()
    settings = made_up(name, folder).model_dump_json()
    return [
        "train",
        name,
        "--output",
        f"{folder}/result_0.txt",
        "--data",
        str(folder),
        "--settings",
        settings,
    ]


def test_runs_import_no_compiler(tmp_path: Path) -> None:
    folders = {name: tmp_path / name for name in registry.benchmarks()}
    arguments = [options(name, folder) for name, folder in folders.items()]
    assert said(TRAIN, json.dumps(arguments)) == "torch torchvision"
    assert all((folder / "result_0.txt").exists() for folder in folders.values())


def test_torchvision_asks_the_compiler_when_it_must() -> None:
    assert said(ASKED) == "False False True"


def test_who_wants_the_compiler_gets_it() -> None:
    assert said(COMPILER_WANTED) == "(1, 2) True"


@pytest.mark.parametrize(
    "changes", [{}, {"momentum": 0.9, "weight_decay": 0.1}, {"momentum": 0.9, "nesterov": True}]
)
def test_an_uncompiled_step_is_pytorchs(changes: dict[str, float]) -> None:
    torch.manual_seed(1)
    start, inputs = torch.randn(5, 3), torch.randn(4, 3, 2)
    ends = []
    for kind in (UncompiledSGD, torch.optim.SGD):
        weight = nn.Parameter(start.clone())
        optimizer = kind([weight], lr=0.1, **changes)
        for each in inputs:
            (weight @ each).square().sum().backward()
            optimizer.step()
            optimizer.zero_grad()
            assert weight.grad is None
        ends.append(weight.detach())
    assert torch.equal(*ends) and not torch.equal(ends[0], start)
