"""Miniature models and games of minigo, drawn and prepared for tests."""

from __future__ import annotations

import gzip
import io
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from preparing import draw_all, run_steps

from octathlon import config
from octathlon.datasets.minigo_models.names import tensor_names
from octathlon.formats.tensor_bundles import read_index, read_tensors
from octathlon.miniatures.tensor_bundle import data_file, index_file


def draw_archives(folder: Path, scale: str = "mini", seed: int = 1, **sizes: int) -> Path:
    """All archives of a scale's miniature, with some sizes changed."""
    drawn = config.resolve("datasets", "minigo_models", scale, {"miniature": sizes}).miniature
    return draw_all("minigo_models", folder, seed, **drawn)


def prepare_all(archives: Path, out: Path, scale: str = "mini") -> Path:
    """Every step of the preparation."""
    return run_steps("minigo_models", archives, out, config.resolve("datasets", "minigo_models", scale, {}))


def members(path: Path) -> dict[str, bytes]:
    with tarfile.open(path) as tar:
        return {member.name: tar.extractfile(member).read() for member in tar}


def rewritten(path: Path, change) -> None:
    """A checkpoint archive whose members `change` has had in its hands."""
    changed = change(members(path))
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for name, content in changed.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    path.write_bytes(gzip.compress(stream.getvalue(), 1))


def with_momentum(
    archives: Path,
    folder: Path,
    change: Callable[[str, np.ndarray], np.ndarray | None] = lambda _, slot: slot,
) -> dict[str, np.ndarray]:
    """Archives whose checkpoint has random momentum under TensorFlow's names; returns it.

    `change` makes something else of a slot or, if it returns None, leaves it out.
    """
    shutil.copytree(archives, folder)
    path, rng, slots = folder / "checkpoint.tar.gz", np.random.default_rng(1), {}

    def add(files: dict[str, bytes]) -> dict[str, bytes]:
        index, data = (next(name for name in files if name.endswith(end)) for end in (".index", "-00001"))
        tensors = read_tensors(read_index(files[index], path), files[data], path)
        for name in tensor_names(2):
            if "moving" not in name:
                slot = rng.normal(size=tensors[name].shape).astype(np.float32)
                if (changed := change(name, slot)) is not None:
                    slots[f"{name}/Momentum"] = changed
        changed = tensors | slots
        return files | {index: index_file(changed), data: data_file(changed)}

    rewritten(path, add)
    return slots
