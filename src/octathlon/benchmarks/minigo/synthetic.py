"""Made-up data in the prepared format of minigo's models and games, to rehearse on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from safetensors.torch import save_file

from octathlon.benchmarks.minigo.players import new_network
from octathlon.benchmarks.minigo.settings import Settings
from octathlon.datasets.minigo_models.rows import row_type
from octathlon.datasets.minigo_models.settings import Settings as DatasetSettings
from octathlon.receipts import write_json


def write(folder: Path, settings: Settings, data: DatasetSettings, _share: float) -> Settings:
    """Models that have learnt nothing, and generations of random positions, fewer for each game than real ones. No
    processes are started for self-play, which is not rehearsed."""
    sizes, rng = data.synthetic, np.random.default_rng(0)
    models = {name: f"{name}.safetensors" for name in ("checkpoint", "target")}
    for file in models.values():
        state = new_network(settings).state_dict()
        save_file({name: value for name, value in state.items() if "num_batches" not in name}, folder / file)
    files = [f"games-{number}.bin" for number in range(sizes["generations"])]
    for file in files:
        _positions(sizes["positions"], sizes["games"], data.board_size, rng).tofile(folder / file)
    generation = {"games": sizes["games"], "positions": sizes["positions"]}
    manifest = {
        "dataset": "minigo_models",
        "board_size": data.board_size,
        "models": models,
        "global_step": 0,
        "generations": [{"file": file} | generation for file in files],
    }
    write_json(folder / "manifest.json", manifest)
    return settings.model_copy(update={"selfplay_processes": 0})


def _positions(count: int, games: int, size: int, rng: np.random.Generator) -> np.ndarray:
    rows = np.zeros(count, row_type(size))
    rows["planes"] = rng.integers(256, size=rows["planes"].shape)
    rows["policy"] = 1 / (size * size + 1)
    rows["outcome"] = rng.choice([-1, 1], count)
    rows["game"] = np.arange(count) * games // count
    return rows
