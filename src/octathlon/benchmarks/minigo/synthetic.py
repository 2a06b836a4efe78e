"""Made-up data in the prepared format of minigo's models and games, to rehearse on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from safetensors.torch import save_file

from octathlon.benchmarks.minigo.players import new_network
from octathlon.benchmarks.minigo.settings import Settings
from octathlon.datasets.minigo_models.rows import row_type
from octathlon.datasets.minigo_models.settings import Settings as DatasetSettings
from octathlon.receipts import write_json


def write(folder: Path, settings: Settings, data: DatasetSettings, _share: float) -> Settings:
    """Models that have learnt nothing, and random positions: for few of the games, as many of each as real ones."""
    sizes, rng = data.synthetic, np.random.default_rng(0)
    models = {name: f"{name}.safetensors" for name in ("checkpoint", "target")}
    for file in models.values():
        state = new_network(settings).state_dict()
        save_file({name: value for name, value in state.items() if "num_batches" not in name}, folder / file)
    files = [f"games-{number}.bin" for number in range(sizes["generations"])]
    for file in files:
        _positions(sizes, data.board_size, rng).tofile(folder / file)
    generation = {"games": sizes["games"], "positions": sizes["kept_games"] * sizes["positions_per_game"]}
    manifest = {
        "dataset": "minigo_models",
        "board_size": data.board_size,
        "models": models,
        "global_step": 0,
        "generations": [{"file": file} | generation for file in files],
    }
    write_json(folder / "manifest.json", manifest)
    return settings


def _positions(sizes: Mapping[str, int], size: int, rng: np.random.Generator) -> np.ndarray:
    """Of games spread evenly over a generation, so that each rank has some."""
    games, each = sizes["kept_games"], sizes["positions_per_game"]
    count = games * each
    rows = np.zeros(count, row_type(size))
    rows["planes"] = rng.integers(256, size=rows["planes"].shape)
    rows["policy"] = 1 / (size * size + 1)
    rows["outcome"] = rng.choice([-1, 1], count)
    rows["game"] = np.repeat(np.arange(games) * sizes["games"] // games, each)
    return rows
