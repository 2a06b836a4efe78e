"""KiTS19 cases, miniature or made by hand, for the tests of their readers."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
from preparing import draw_all, run_steps

from octathlon import config
from octathlon.datasets.kits19 import prepare
from octathlon.datasets.kits19.settings import Settings


def draw(folder: Path, seed: int = 1) -> Path:
    """All archives of the miniature, in its own size."""
    return draw_all("kits19", folder, seed, **settings().miniature)


def settings(**changes) -> Settings:
    return config.resolve("datasets", "kits19", "mini", changes)


def prepare_all(archives: Path, out: Path, chosen: Settings | None = None) -> Path:
    """Run every step."""
    return run_steps("kits19", archives, out, chosen or settings())


def affine(spacing: tuple[float, float, float]) -> np.ndarray:
    """Upstream's: slices from head to feet, rows from front to back, columns from right to left."""
    z, y, x = spacing
    return np.array([[0, 0, -x, 0], [0, -y, 0, 0], [-z, 0, 0, 0], [0, 0, 0, 1]])


def write_case(
    folder: Path,
    number: int,
    image: np.ndarray,
    label: np.ndarray,
    spacing: tuple[float, float, float],
) -> tuple[Path, Path]:
    """Both files of a case, by nibabel."""
    paths = tuple(folder / name for name in prepare.case_files(number))
    paths[0].parent.mkdir(parents=True, exist_ok=True)
    for path, volume in zip(paths, (image, label), strict=True):
        nibabel.save(nibabel.Nifti1Image(volume, affine(spacing)), path)
    return paths


def waves(shape: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    """A smooth image with two ellipsoids in its label: 1 and, in it, 2."""
    depth, height, width = shape
    z, y, x = np.meshgrid(*(np.arange(size, dtype=float) for size in shape), indexing="ij")
    image = 400 * np.sin(0.11 * z + 0.05 * y) * np.cos(0.07 * x) - 30

    def inside(centre: tuple[float, ...], semi_axes: tuple[float, ...]) -> np.ndarray:
        parts = zip((z, y, x), centre, semi_axes, (depth, height, width), strict=True)
        return sum(((grid - at * size) / (axis * size)) ** 2 for grid, at, axis, size in parts) <= 1

    label = np.zeros(shape, np.uint8)
    label[inside((0.5, 0.55, 0.3), (0.3, 0.2, 0.15))] = 1
    label[inside((0.6, 0.6, 0.35), (0.1, 0.08, 0.07))] = 2
    return image.astype(np.float32), label
