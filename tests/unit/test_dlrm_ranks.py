"""dlrm over many ranks: a whole epoch on 2 and on 8 gloo processes against one process that accumulates."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from click_logs_archives import draw, prepare_all, read_rows, settings
from test_world import on_ranks
from torch import Tensor, nn

from octathlon import config
from octathlon.benchmarks.dlrm.benchmark import Recommendation
from octathlon.contracts import Run
from octathlon.harness.events import Events
from octathlon.harness.trainer import StepTrainer
from octathlon.nn.embeddings import place
from octathlon.receipts import read_json

BATCH = 128


class Recorded(Recommendation):
    """dlrm that keeps the rows that it is trained on."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.seen: list[np.ndarray] = []

    def loss(self, model: nn.Module, batch: Tensor) -> Tensor:
        self.seen.append(batch.numpy())
        return super().loss(model, batch)


class Trained(NamedTuple):
    """What one rank has after an epoch."""

    rows: np.ndarray
    dense: dict[str, np.ndarray]
    tables: dict[int, np.ndarray]
    quality: float


def trained(data: Path, rank: int, world: int, accumulation: int) -> Trained:
    """An epoch of the harness's own trainer, and an evaluation."""
    torch.manual_seed(1)
    manifest = read_json(data / "manifest.json")
    run = Run(seed=1, device=torch.device("cpu"), rank=rank, world=world, data=data, manifest=manifest)
    over = {"gradient_accumulation_steps": accumulation, "base_learning_rate": 0.1, "warmup_steps": 0}
    chosen = Recorded(config.resolve("benchmarks", "dlrm", "mini", over | {"global_batch_size": BATCH}), run)
    model = chosen.build_model()
    trainer = StepTrainer(chosen, model, *chosen.build_optimizer(model), Events([], float))
    chosen.train_block(trainer, 1)
    with torch.inference_mode():
        quality = chosen.evaluate(model)["AUC"]
    weights = {name: parameter.detach() for name, parameter in model.named_parameters()}
    sizes = manifest["table_sizes"]
    owned = place(sizes, world)[rank]
    tables = weights.pop("embeddings.weight").split([sizes[table] for table in owned])
    return Trained(
        np.concatenate(chosen.seen),
        {name: weight.numpy() for name, weight in weights.items()},
        {table: values.numpy() for table, values in zip(owned, tables, strict=True)},
        quality,
    )


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """1,610 training and 201 evaluation rows."""
    folder = tmp_path_factory.mktemp("click_logs")
    archives = draw(folder / "archives", rows_per_day=70, last_day_rows=401)
    prepare_all(archives, folder / "out", settings(days=24))
    return folder / "out"


@pytest.mark.parametrize("world", [2, 8])
def test_ranks_together_are_as_one_that_accumulates(data: Path, tmp_path: Path, world: int) -> None:
    torch.set_num_threads(1)
    alone = trained(data, 0, 1, accumulation=world)
    ranks = on_ranks(world, tmp_path, lambda rank: trained(data, rank, world, accumulation=1))

    rows = read_rows(data, read_json(data / "manifest.json"), "train")[: 1610 // BATCH * BATCH]
    assert sorted(map(bytes, np.concatenate([each.rows for each in ranks]))) == sorted(map(bytes, rows))
    for each in ranks:
        assert len(each.rows) == len(rows) // world
        for name, weight in alone.dense.items():
            assert np.array_equal(each.dense[name], ranks[0].dense[name])
            np.testing.assert_allclose(each.dense[name], weight, rtol=0, atol=1e-5, err_msg=name)
        assert each.quality == ranks[0].quality == pytest.approx(alone.quality, abs=1e-3)
    together = {table: values for each in ranks for table, values in each.tables.items()}
    assert len(together) == sum(len(each.tables) for each in ranks) == 26
    for table, values in together.items():
        np.testing.assert_allclose(values, alone.tables[table], rtol=0, atol=1e-5, err_msg=str(table))
