"""What is compiled at full scale is compiled in the warm-up, for all batches that may come."""

from __future__ import annotations

import shutil
from itertools import islice
from pathlib import Path

import pytest
import torch
from made_up_runs import made_up
from torch import nn
from training_on_ranks import trainer_of

from octathlon import registry
from octathlon.harness.trainer import evaluate

pytestmark = [
    pytest.mark.skipif(not shutil.which("g++"), reason="no C++ compiler: apt install g++"),
    pytest.mark.filterwarnings("ignore:The image decoding:DeprecationWarning"),
]
OVER = {"global_batch_size": 3, "gradient_accumulation_steps": 1, "loader_workers": 0, "compile": "default"}
"""Three images are as many as colours."""
SIZES = {"maskrcnn": {"train": 18}}
"""So few that there are rests of one and of two images."""


@pytest.mark.parametrize("name", ["bert", "maskrcnn", "resnet", "ssd", "unet3d"])
def test_neither_steps_nor_evaluations_compile_anything(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is compiled is run as it is written, since the C++ of all parts takes minutes to build."""
    compiled = nn.Module.compile
    monkeypatch.setattr(
        nn.Module, "compile", lambda part, mode, dynamic: compiled(part, backend="aot_eager", dynamic=dynamic)
    )
    torch.compiler.reset()
    chosen = registry.benchmark_class(name)(*made_up(name, tmp_path, OVER, SIZES.get(name)))
    trainer = trainer_of(chosen)
    trainer.warm_up()
    batches = [batch for epoch in (1, 2, 3) for batch in islice(chosen.train_batches(epoch), 10)]
    if name == "maskrcnn":  # passes leave rests, of either orientation
        sizes, upright = zip(*(shape(each) for each in batches), strict=True)
        assert ({*sizes}, {*upright}) == ({1, 2, 3}, {False, True})
    with torch.compiler.set_stance("fail_on_recompile"):
        for batch in batches:
            trainer.step(batch)
        evaluate(chosen, trainer.model)
        trainer.model.train()
        trainer.step(batches[0])


def shape(batch) -> tuple[int, bool]:
    """How many images of mask R-CNN's, and whether they are upright."""
    count, _, height, width = batch.images.pixels.shape
    return count, height > width
