"""Miniature KiTS19: drawn abdomens of toy size in upstream's files, one image and one label per case.

A case is a body with two kidneys (label 1), a tumour in one of them (label 2), and a spine, a liver, vessels and cysts
to confuse them with. Cases that are trained on show the body from neck to thigh, as upstream's longest do, so that most
random crops hold no kidney; those that are evaluated show the abdomen, so that evaluating is quick.

The real archives' traps are in: slices, rows and columns as axes with an affine to match, spacings that differ from
case to case, labels of 16 bits and an orientation that only the quaternion gives, images of either integers or floats,
a volume thinner than a patch, a case without tumour, one without label, and clinical records that nobody needs.
"""

from __future__ import annotations

import gzip
import json
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from octathlon.miniatures.files import replacing

EVALUATED = (0, 3, 5, 6, 12, 24, 34, 41)
"""The first of upstream's validation cases."""
WIDE_LABEL, NO_TUMOUR, THIN, FLOATS = 2, 4, 7, 9
"""Cases with a trap."""
UNLABELLED = 210
RECORDS = "data/kits.json"

VOXEL = np.array([1.6, 1.2, 1.2])
"""Millimetres of a voxel in preparation; sizes below are in such voxels: slices, rows, columns."""

WIDTH = (18.0, 23.0)
"""Rows and columns of a body; slices are one of the next two."""
SHORT = (22.0, 28.0)
LONG = (800.0, 1000.0)
AIR, FAT, MUSCLE, LIVER, KIDNEY, TUMOUR, BONE, VESSEL = -1000, -90, 40, 80, 230, -30, 600, 130
"""Hounsfield units."""
NOISE = 20
"""Standard deviation in Hounsfield units."""

TYPES = {"uint8": 2, "int16": 4, "float32": 16, "uint16": 512}
"""NIfTI-1 codes."""


def archives(*, cases: int) -> list[str]:
    """The archives that `draw` can draw: both files of each case, an image without label, the records."""
    pairs = [_path(number, kind) for number in range(cases) for kind in ("imaging", "segmentation")]
    return [*pairs, _path(UNLABELLED, "imaging"), RECORDS]


def draw(archive: str, folder: Path, *, seed: int, cases: int) -> None:
    """Write `folder/archive`: the same bytes for the same seed and sizes, whatever else was drawn."""
    path = folder / archive
    if archive == RECORDS:
        content = _records(seed, cases)
    else:
        number = int(path.parent.name.removeprefix("case_"))
        content = _image(seed, number) if path.name == "imaging.nii.gz" else _label(seed, number)
    with replacing(path) as file:
        file.write(content)


def _path(number: int, kind: str) -> str:
    return f"data/case_{number:05d}/{kind}.nii.gz"


def _image(seed: int, number: int) -> bytes:
    body = _Body(seed, number)
    volume = body.image(np.random.default_rng([seed, number, 1]))
    kind = "float32" if number == FLOATS else "int16"
    return _nifti(volume.round().astype(kind), body.spacing, quaternion=False)


def _label(seed: int, number: int) -> bytes:
    body = _Body(seed, number)
    wide = number == WIDE_LABEL
    return _nifti(body.label().astype("uint16" if wide else "uint8"), body.spacing, quaternion=wide)


def _records(seed: int, cases: int) -> bytes:
    """kits.json with the one field that has to do with the volumes."""
    records = []
    for number in (*range(cases), UNLABELLED):
        z, y, x = _Body(seed, number).spacing.tolist()
        spacing = {"x_spacing": x, "y_spacing": y, "z_spacing": z}
        records.append({"case_id": f"case_{number:05d}", "voxel_spacing": spacing})
    return json.dumps(records, indent=4).encode()


# Anatomy -----------------------------------------------------------------------------------------------


class _Body:
    """One patient: where everything is, in voxels of `VOXEL`."""

    def __init__(self, seed: int, number: int) -> None:
        rng = np.random.default_rng([seed, number])
        self.spacing = np.array([rng.uniform(1.2, 2.4), *[rng.uniform(0.7, 1.0)] * 2], np.float32)
        rows, columns = rng.uniform(*WIDTH, 2)
        slices = rng.uniform(*(SHORT if number in EVALUATED else LONG))
        if number == THIN:
            slices = rng.uniform(11, 14)
        self._size = np.array([slices, rows, columns])
        self.shape = tuple((self._size * VOXEL / self.spacing).astype(int).tolist())
        self._organs = list(_organs(rng, self._size, tumour=number != NO_TUMOUR))

    def image(self, rng: np.random.Generator) -> np.ndarray:
        """Hounsfield units, float32 of the case's shape."""
        grid = self._grid()
        volume = np.full(self.shape, AIR, np.float32)
        _, rows, columns = self._size
        body = np.hypot(grid[1] / rows - 0.5, grid[2] / columns - 0.5) / 0.48
        for value, radius in ((FAT, 1.0), (MUSCLE, 0.93)):
            volume += (value - volume) * _coverage(body / radius, rows * 0.48)
        for value, _class, organ in self._organs:
            part, radii = organ.around(grid)
            volume[part] += (value - volume[part]) * _coverage(radii, organ.semi_axes.min())
        return volume + rng.standard_normal(self.shape, np.float32) * NOISE

    def label(self) -> np.ndarray:
        """Classes, uint8 of the case's shape."""
        grid = self._grid()
        label = np.zeros(self.shape, np.uint8)
        for _value, number, organ in self._organs:
            part, radii = organ.around(grid)
            label[part][radii <= 1] = number
        return label

    def _grid(self) -> list[np.ndarray]:
        """Where the case's voxels are along each axis, float32, of shapes that broadcast to the case's."""
        axes = zip(self.shape, self.spacing / VOXEL, strict=True)
        return list(np.ix_(*(np.arange(count, dtype=np.float32) * step for count, step in axes)))


class _Ellipsoid:
    """Semi-axes along slices, rows and columns; `angle`, in radians, turns it in the plane of the slice."""

    def __init__(self, centre: Sequence[float], semi_axes: Sequence[float], angle: float = 0.0) -> None:
        self.centre, self.semi_axes, self._angle = np.array(centre), np.array(semi_axes), angle

    def around(self, grid: list[np.ndarray]) -> tuple[tuple[slice, ...], np.ndarray]:
        """The part of the grid near it, and how far out the voxels there are: 1 on the surface."""
        a, b, c = self.semi_axes
        reach = 1.5 * np.array([a, max(b, c), max(b, c)])
        part, offsets = [], []
        for axis, line in enumerate(grid):
            centre = self.centre[axis]
            part.append(slice(*np.searchsorted(line.ravel(), [centre - reach[axis], centre + reach[axis]])))
            inside = [slice(None)] * 3
            inside[axis] = part[axis]
            offsets.append(line[tuple(inside)] - centre)
        z, y, x = offsets
        sine, cosine = np.sin(self._angle), np.cos(self._angle)
        along, across = cosine * y + sine * x, cosine * x - sine * y
        return tuple(part), np.sqrt((z / a) ** 2 + (along / b) ** 2 + (across / c) ** 2)


def _organs(
    rng: np.random.Generator, size: np.ndarray, tumour: bool
) -> Iterator[tuple[int, int, _Ellipsoid]]:
    """(Hounsfield units, class, where) of each organ; later ones cover earlier ones."""
    slices, rows, columns = size
    middle = rng.uniform(0.42, 0.58) * slices
    yield BONE, 0, _Ellipsoid((slices / 2, 0.8 * rows, columns / 2), (slices, 1.8, 1.8))
    yield LIVER, 0, _Ellipsoid((middle - 5, 0.35 * rows, 0.3 * columns), (6, 0.2 * rows, 0.2 * columns))
    yield VESSEL, 0, _Ellipsoid((slices / 2, 0.6 * rows, columns / 2), (slices, 1.0, 1.0))
    sick = rng.integers(2)
    for side, across in enumerate((0.27, 0.73)):
        row, column = rng.uniform(0.53, 0.63) * rows, (across + rng.uniform(-0.03, 0.03)) * columns
        centre = np.array([middle + rng.uniform(-1.5, 1.5), row, column])
        semi_axes = rng.uniform([5.5, 0.20 * rows, 0.16 * columns], [7.5, 0.24 * rows, 0.19 * columns])
        yield KIDNEY, 1, _Ellipsoid(centre, semi_axes, rng.uniform(-0.5, 0.5))
        if tumour and side == sick:
            offset = rng.uniform(-1, 1, 3) * (0.7, 0.6, 0.6) * semi_axes
            yield TUMOUR, 2, _Ellipsoid(centre + offset, [rng.uniform(3.5, 4.5)] * 3)


def _coverage(radii: np.ndarray, scale: float) -> np.ndarray:
    """How much of each voxel lies inside: surfaces are a voxel thick."""
    return np.clip(0.5 + (1 - radii) * scale, 0, 1)


# Files -------------------------------------------------------------------------------------------------


def _nifti(volume: np.ndarray, spacing: np.ndarray, *, quaternion: bool) -> bytes:
    """A gzipped NIfTI-1 file whose first axis runs from head to feet, the second from front to back, the third from
    right to left; said by the affine or, if `quaternion`, by the older quaternion form alone."""
    z, y, x = spacing.tolist()
    header = bytearray(352)
    struct.pack_into("<i", header, 0, 348)
    struct.pack_into("<8h", header, 40, 3, *volume.shape, 1, 1, 1, 1)
    struct.pack_into("<2h", header, 70, TYPES[volume.dtype.name], volume.dtype.itemsize * 8)
    struct.pack_into("<8f", header, 76, 1, z, y, x, 1, 1, 1, 1)
    struct.pack_into("<3f", header, 108, 352, np.nan, np.nan)
    struct.pack_into("<2h", header, 252, quaternion, 0 if quaternion else 2)
    if quaternion:
        header[123] = 2  # millimetres
        struct.pack_into("<3f", header, 256, 0.5**0.5, 0, -(0.5**0.5))
    else:
        struct.pack_into("<12f", header, 280, 0, 0, -x, 0, 0, -y, 0, 0, -z, 0, 0, 0)
    header[344:348] = b"n+1\0"
    return gzip.compress(
        bytes(header) + volume.astype(volume.dtype.newbyteorder("<")).tobytes("F"), 1, mtime=0
    )
