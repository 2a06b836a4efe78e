"""Eight gloo ranks learn together what one process learns from the same batches, and see each position once."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from minigo_data import draw_archives, prepare_all
from test_world import on_ranks

from octathlon import config
from octathlon.benchmarks.minigo import benchmark as module
from octathlon.benchmarks.minigo.benchmark import SelfPlay
from octathlon.benchmarks.minigo.kernels import rehearse
from octathlon.benchmarks.minigo.window import even_out
from octathlon.contracts import Run
from octathlon.datasets.minigo_models.loader import load_games
from octathlon.datasets.minigo_models.rows import row_type
from octathlon.harness.clock import wall_clock
from octathlon.harness.events import Events
from octathlon.harness.trainer import StepTrainer
from octathlon.receipts import read_json

RANKS, GAMES, BATCH = 8, 9, 48
FEW = {
    "min_selfplay_games": GAMES,
    "readouts": 4,
    "fast_readouts": 4,
    "global_batch_size": BATCH,
    "position_share": 1.0,
}
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    archives = draw_archives(tmp_path_factory.mktemp("archives"), games=GAMES)
    rehearse(config.resolve("benchmarks", "minigo", "mini", FEW))  # compiled once, before there are ranks
    return prepare_all(archives, tmp_path_factory.mktemp("prepared"))


def trained(data: Path, rank: int, world: int, **over) -> tuple[SelfPlay, StepTrainer]:
    """A benchmark with its model and a trainer, as the harness makes them."""
    manifest = read_json(data / "manifest.json")
    facts = Run(seed=1, device=CPU, rank=rank, world=world, data=data, manifest=manifest)
    chosen = SelfPlay(config.resolve("benchmarks", "minigo", "mini", FEW | over), facts)
    model = chosen.build_model()
    trainer = StepTrainer(chosen, model, *chosen.build_optimizer(model), Events([], wall_clock()))
    return chosen, trainer


def weights(chosen: SelfPlay) -> dict[str, np.ndarray]:
    """Parameters, and the statistics of the batch norms."""
    state = chosen._model.state_dict()
    return {name: value.numpy() for name, value in state.items() if "num_batches" not in name}


def are_alike(found: list[dict[str, np.ndarray]]) -> bool:
    """Whether all ranks have the same weights to the bit."""
    return all((each[name] == value).all() for each in found for name, value in found[0].items())


def test_eight_ranks_see_each_position_of_the_window_once_and_learn_as_one_process(data, tmp_path) -> None:
    """The checkpoint's games; a micro-batch of the one process is a rank's part of a batch."""

    def generation(rank: int) -> tuple:
        chosen, trainer = trained(data, rank, RANKS)
        rows, seen = [], []

        def noted(drawn: np.ndarray, *arguments):
            rows.append(drawn.tobytes())
            for batch in batches(drawn, *arguments):
                seen.append(batch)
                yield batch

        batches, module.batches = module.batches, noted
        chosen.train_block(trainer, 1)
        return b"".join(rows), seen, weights(chosen), trainer.progress.steps

    found = on_ranks(RANKS, tmp_path, generation)
    positions = Counter(
        row.tobytes() for part in load_games(data, read_json(data / "manifest.json")) for row in part
    )
    drawn = np.frombuffer(b"".join(rows for rows, *_ in found), row_type(5))
    updates = positions.total() // BATCH
    assert len(drawn) == updates * BATCH and {steps for *_, steps in found} == {updates}
    assert Counter(row.tobytes() for row in drawn) <= positions
    assert are_alike([ours for _, _, ours, _ in found])

    one, trainer = trained(data, 0, 1, gradient_accumulation_steps=RANKS)
    one._model.train()
    for parts in zip(*(seen for _, seen, *_ in found), strict=True):
        for part in parts:
            trainer.step(tuple(torch.from_numpy(array) for array in part))
    assert trainer.progress.steps == updates
    for name, value in weights(one).items():
        if "running" not in name:  # one process averages them over time, ranks over each other
            np.testing.assert_allclose(found[0][2][name], value, rtol=1e-3, atol=1e-5)


def test_eight_ranks_play_a_generation_together_and_stay_alike(data, tmp_path) -> None:
    def generations(rank: int) -> tuple:
        chosen, trainer = trained(data, rank, RANKS)
        chosen.train_block(trainer, 2)
        games = len(np.unique(chosen._window._generations[-1]["game"]))
        return games, weights(chosen)

    found = on_ranks(RANKS, tmp_path, generations)
    assert sum(games for games, _ in found) == GAMES
    assert are_alike([ours for _, ours in found])


@pytest.mark.parametrize("counts", [[10, 0, 3], [4, 4, 4], [1, 0, 1], [0, 0, 26]])
def test_rows_are_evened_out(counts: list[int], tmp_path) -> None:
    """Two rows of each rank in an update."""

    def evened(rank: int) -> list[int]:
        rows = np.zeros(counts[rank], row_type(5))
        rows["game"] = 100 * rank + np.arange(counts[rank])
        return even_out(rows, 2, CPU)["game"].tolist()

    found = on_ranks(3, tmp_path, evened)
    wanted = sum(counts) // 6 * 2
    assert [len(part) for part in found] == [wanted] * 3
    everything = [100 * rank + number for rank, count in enumerate(counts) for number in range(count)]
    joined = [game for part in found for game in part]
    assert len(set(joined)) == len(joined) and set(joined) <= set(everything)
