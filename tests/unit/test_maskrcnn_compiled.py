"""Mask R-CNN is compiled off the clock, for all batches that may come: the warm-up has one of each kind."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from coco_run import benchmark, draw, prepare_all
from torch import nn
from training_on_ranks import trainer_of

pytestmark = [
    pytest.mark.skipif(not shutil.which("g++"), reason="no C++ compiler: apt install g++"),
    pytest.mark.filterwarnings("ignore:The image decoding:DeprecationWarning"),
]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepare_all(draw(tmp_path_factory.mktemp("archives")), tmp_path_factory.mktemp("prepared"))


def test_no_step_compiles_anything(prepared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three images are as many as colours, and a pass in batches of them leaves rests of one or two.

    What is compiled is run as it is written, since the C++ of all parts takes minutes to build.
    """
    compiled = nn.Module.compile
    monkeypatch.setattr(
        nn.Module, "compile", lambda part, mode, dynamic: compiled(part, backend="aot_eager", dynamic=dynamic)
    )
    torch.compiler.reset()
    chosen = benchmark("maskrcnn", prepared, global_batch_size=3, precision="bf16", compile="default")
    trainer = trainer_of(chosen)
    trainer.warm_up()
    seen = set()
    with torch.compiler.set_stance("fail_on_recompile"):
        for batch in (*chosen.train_batches(1), chosen._made_up(2, [[0.2, 0.2, 0.5, 0.6]])):
            trainer.step(batch)
            seen.add((len(batch.images.sizes), batch.images.pixels.shape[2] > batch.images.pixels.shape[3]))
    sizes, upright = map(set, zip(*seen, strict=True))
    assert (sizes, upright) == ({1, 2, 3}, {False, True})
