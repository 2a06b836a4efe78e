"""The reference's checkpoint and target model -> weights under our names, rows of positions, and a manifest.

Steps: `checkpoint` (weights, their momentum, and the games of the generations before, a file for each), `target`,
`manifest`. The archive with the checkpoint is read as a stream; nothing is written under a name that it gives.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from safetensors.numpy import save

from octathlon.datasets.minigo_models.games import read_game
from octathlon.datasets.minigo_models.names import TRANSPOSED, tensor_names
from octathlon.datasets.minigo_models.settings import Settings
from octathlon.errors import OctathlonError
from octathlon.formats.tars import stream_targz
from octathlon.formats.tensor_bundles import Entry, mapped, read_index, read_tensors
from octathlon.receipts import describe, publish, read_json, write_json

CHECKPOINT, TARGET = "checkpoint.tar.gz", "target"
INDEX, DATA = "index", "data-00000-of-00001"
GAME = re.compile(r"(?:.*/)?data/selfplay/(\d{1,9})/(?:.*/)?[^/]+\.tfrecord\.zz")
WEIGHTS = re.compile(rf"(?:.*/)?work_dir/model\.ckpt-\d+\.({INDEX}|{DATA})")
ARCHIVE_LIMIT = 1 << 40
MEMBER_LIMIT = 1 << 28
"""Bytes; games and weights are far smaller."""
SLOT = "{}/Momentum"
"""TensorFlow's name of a tensor's momentum."""
MOMENTUM_FILE = "momentum.safetensors"


def archives(settings: Settings) -> list[str]:
    """The archives that the preparation needs."""
    return [CHECKPOINT, f"{TARGET}.{INDEX}", f"{TARGET}.{DATA}"]


def steps(settings: Settings) -> dict[str, list[str]]:
    """The names of the steps before the manifest, by kind."""
    return {"models": ["checkpoint", "target"]}


def needs(step: str, settings: Settings) -> tuple[list[str], list[str]]:
    """The archives, and the steps before it (none), that a step other than `manifest` reads."""
    return [name for name in archives(settings) if name.startswith(step)], []


def prepare(step: str, archives: Path, out: Path, settings: Settings) -> None:
    """Run one step: `checkpoint`, `target` or `manifest`.

    Raises:
        OctathlonError: naming the archive that is not as it should be.
    """
    if step == "manifest":
        return write_json(out / "manifest.json", _manifest(out, settings))
    runs: dict[str, Callable[..., dict[str, Any]]] = {"checkpoint": _checkpoint, "target": _target}
    if step not in runs:
        raise OctathlonError(f"minigo_models has no step {step!r}; choose checkpoint, target or manifest")
    facts = runs[step](archives, out, settings)
    head = {"format": 1, "stage": "prepare", "dataset": "minigo_models", "step": step}
    files = {name: describe(out / name) for name in facts["files"]}
    return write_json(out / "receipts" / f"{step}.json", head | facts | {"files": files})


def _target(archives: Path, out: Path, settings: Settings) -> dict[str, Any]:
    index, data = (archives / f"{TARGET}.{part}" for part in (INDEX, DATA))
    entries = read_index(mapped(index), index)
    tensors = _tensors(entries, mapped(data), data)
    return _save_model(tensors, data, out / "target.safetensors", settings)


def _checkpoint(archives: Path, out: Path, settings: Settings) -> dict[str, Any]:
    path = archives / CHECKPOINT
    parts: dict[str, bytes] = {}
    generations: dict[int, dict[str, int]] = {}
    with ExitStack() as stack:
        files: dict[int, BinaryIO] = {}
        for name, content in stream_targz(path, ARCHIVE_LIMIT, MEMBER_LIMIT):
            if found := WEIGHTS.fullmatch(name):
                parts[found[1]] = content
            elif found := GAME.fullmatch(name):
                number = int(found[1])
                if number not in files:
                    place = stack.enter_context(publish(out / _games_file(number)))
                    files[number] = stack.enter_context(place.open("wb"))
                    generations[number] = {"games": 0, "positions": 0}
                game = generations[number]["games"]
                rows = read_game(content, settings.board_size, game, f"{path}: game {name!r}")
                rows.tofile(files[number])
                generations[number]["games"] += 1
                generations[number]["positions"] += len(rows)
        if set(parts) != {INDEX, DATA} or not generations:
            raise OctathlonError(f"{path}: no model or no games in it; use the archive as it is published")
    tensors = _tensors(read_index(parts[INDEX], path), parts[DATA], path)
    facts = _save_model(tensors, path, out / "checkpoint.safetensors", settings)
    if "global_step" not in facts:
        raise OctathlonError(f"{path}: its model has no global_step; use the archive as it is published")
    if momentum := _momentum(tensors, facts["blocks"], path):
        with publish(out / MOMENTUM_FILE) as temporary:
            temporary.write_bytes(save(momentum))
        facts["files"].append(MOMENTUM_FILE)
    facts["files"] += [_games_file(number) for number in sorted(generations)]
    counts = [{"file": _games_file(number), **generations[number]} for number in sorted(generations)]
    return facts | {"generations": counts}


def _games_file(generation: int) -> str:
    return f"games-{generation:06d}.bin"


def _tensors(entries: dict[str, Entry], data: bytes | np.ndarray, source: Path) -> dict[str, np.ndarray]:
    """All but those of other types than float32 and int64."""
    return read_tensors(
        {name: entry for name, entry in entries.items() if entry.dtype is not None}, data, source
    )


def _save_model(
    tensors: dict[str, np.ndarray], source: Path, path: Path, settings: Settings
) -> dict[str, Any]:
    """Write the weights in our order and under our names."""
    weights, blocks = _translated(tensors, source)
    if len(weights["policy.bias"]) != settings.board_size**2 + 1:
        raise OctathlonError(f"{source}: its model is not for a board of {settings.board_size} lines")
    with publish(path) as temporary:
        temporary.write_bytes(save(weights))
    facts = {"files": [path.name], "blocks": blocks, "filters": len(weights["bn.weight"])}
    if "global_step" in tensors and tensors["global_step"].ndim == 0:
        facts["global_step"] = int(tensors["global_step"])
    return facts


def _translated(tensors: dict[str, np.ndarray], source: Path) -> tuple[dict[str, np.ndarray], int]:
    """Our name -> array, and the number of blocks of the tower."""
    blocks = (sum(name.startswith("conv2d") and name.endswith("/kernel") for name in tensors) - 3) // 2
    return _renamed(tensors, tensor_names(max(blocks, 0)), source), blocks


def _momentum(tensors: dict[str, np.ndarray], blocks: int, source: Path) -> dict[str, np.ndarray]:
    """Our name -> the momentum of what is trained; empty if the checkpoint comes without."""
    names = {theirs: ours for theirs, ours in tensor_names(blocks).items() if "moving" not in theirs}
    slots = {SLOT.format(theirs): ours for theirs, ours in names.items()}
    if not any(slot in tensors for slot in slots):
        return {}
    momentum = _renamed(tensors, slots, source)
    for theirs in names:
        if tensors[SLOT.format(theirs)].shape != tensors[theirs].shape:
            raise OctathlonError(f"{source}: the momentum of {theirs} has another shape; fetch it again")
    return momentum


def _renamed(tensors: dict[str, np.ndarray], names: dict[str, str], source: Path) -> dict[str, np.ndarray]:
    """Arrays with our names and axes; `names` is theirs -> ours."""
    renamed = {}
    for theirs, ours in names.items():
        if theirs not in tensors:
            raise OctathlonError(f"{source}: its model has no tensor {theirs}; fetch it again")
        tensor = tensors[theirs]
        axes = TRANSPOSED.get(tensor.ndim)
        renamed[ours] = np.ascontiguousarray(tensor.transpose(axes) if axes else tensor)
    return renamed


def _manifest(out: Path, settings: Settings) -> dict[str, Any]:
    checkpoint, target = (read_json(out / "receipts" / f"{step}.json") for step in ("checkpoint", "target"))
    momentum = {"momentum": MOMENTUM_FILE} if MOMENTUM_FILE in checkpoint["files"] else {}
    return {
        "format": 1,
        "dataset": "minigo_models",
        "board_size": settings.board_size,
        "shards": checkpoint["files"] | target["files"],
        "models": {"checkpoint": "checkpoint.safetensors", "target": "target.safetensors"},
        **momentum,
        "global_step": checkpoint["global_step"],
        "generations": checkpoint["generations"],
    }
