"""Gzipped NIfTI-1 volumes (nifti.nimh.nih.gov/pub/dist/src/niftilib/nifti1.h) -> arrays, read with doubt."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import BinaryIO

import numpy as np
from nibabel.nifti1 import Nifti1Header
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError

from octathlon.formats.errors import REMEDY, FormatError
from octathlon.formats.gzips import open_gzip

VOXEL_LIMIT = 1 << 29
"""KiTS19's largest volume has 0.28 billion."""
VOXELS_PER_BYTE, FREE_VOXELS = 4, 1 << 22
"""Of the compressed file. Noise does not compress: the real volumes at hand have up to 2.3; small ones may be empty."""
HEADER_LIMIT = 1 << 20
"""No header, extensions included, has more bytes; without extensions it has 352."""
SCALE_LIMIT = 1e9
"""Neither slope nor intercept is larger: no scanner's units are, and products must remain numbers."""
SPACING_LIMITS = (0.1, 20.0)
"""Millimetres; KiTS19 has from 0.4375 to 5."""
EXTENT_LIMIT = 3000
"""Millimetres along an axis: nobody is longer."""


@dataclass(frozen=True, slots=True)
class Volume:
    """Values along three axes, and where they are in the patient."""

    values: np.ndarray
    """Scaled if the header says so, else of the stored type."""
    spacing: tuple[float, float, float]
    """Millimetres along each axis."""
    axes: np.ndarray
    """The affine without its origin, of shape (3, 3): which way, in x, y and z, a step along each axis goes."""


def read_volume(path: Path, like: Volume | None = None) -> Volume:
    """Read a volume, to the end, where gzip's checksum stands: what was cut short in a download doesn't pass.

    Args:
        like: a volume whose shape it must have. Labels compress as far as gzip goes, so their size is to be known.

    Raises:
        FormatError: if it is damaged, of another shape, or has more voxels than a file of its size can.
    """
    with open_gzip(path, HEADER_LIMIT + VOXEL_LIMIT * 8) as stream:
        header, volume = _read_header(stream, path)
        kind, shape = header.get_data_dtype(), header.get_data_shape()
        if like and shape != like.values.shape:
            raise FormatError(
                f"{path}: shape {shape}, but the image has {like.values.shape}; use files of one case"
            )
        if not like and prod(shape) > FREE_VOXELS + VOXELS_PER_BYTE * path.stat().st_size:
            raise FormatError(f"{path}: too few bytes for {prod(shape):,} voxels of a CT volume; {REMEDY}")
        stream.read(header.get_data_offset() - header.sizeof_hdr)
        wanted = prod(shape) * kind.itemsize
        content = stream.read(wanted)
        if len(content) < wanted or stream.read(1):
            raise FormatError(f"{path}: not as many bytes as its header promises; fetch it again")
    values = np.frombuffer(content, kind).reshape(shape, order="F")
    slope, intercept = header.get_slope_inter()
    scaled = values if slope is None or (slope, intercept) == (1, 0) else values * slope + intercept
    return Volume(scaled, *volume)


def _read_header(stream: BinaryIO, path: Path) -> tuple[Nifti1Header, tuple]:
    """The header, checked; spacing and axes."""
    try:
        header = Nifti1Header(stream.read(Nifti1Header.sizeof_hdr), check=False)
        if header["sizeof_hdr"] != header.sizeof_hdr or header["magic"] != header.single_magic:
            raise HeaderDataError("it does not begin as a volume in one file does")
        header.check_fix()
        shape, kind, offset = header.get_data_shape(), header.get_data_dtype(), header.get_data_offset()
        header.get_slope_inter()
        spacing, axes = np.array(header.get_zooms(), np.float64), header.get_best_affine()[:3, :3]
    except (HeaderDataError, WrapStructError, ValueError, OverflowError) as error:  # for what is no number
        raise FormatError(f"{path}: not a NIfTI file ({error}); fetch it again") from error
    if len(shape) != 3 or min(shape) < 1 or prod(shape) > VOXEL_LIMIT:
        raise FormatError(f"{path}: shape {shape} is not that of a CT volume; {REMEDY}")
    if kind.kind not in "iuf" or kind.itemsize > 8 or not header.sizeof_hdr <= offset <= HEADER_LIMIT:
        raise FormatError(f"{path}: voxels of type {kind} from byte {offset} on make no sense; {REMEDY}")
    _check_scale(float(header["scl_slope"]), float(header["scl_inter"]), path)
    if not ((spacing >= SPACING_LIMITS[0]) & (spacing <= SPACING_LIMITS[1])).all():
        raise FormatError(f"{path}: a spacing of {spacing.round(4).tolist()} mm is impossible; {REMEDY}")
    if (spacing * shape).max() > EXTENT_LIMIT:
        raise FormatError(
            f"{path}: {(spacing * shape).round(1).tolist()} mm are not those of a patient; {REMEDY}"
        )
    return header, (tuple(spacing.tolist()), axes)


def _check_scale(slope: float, intercept: float, path: Path) -> None:
    """A slope of 0, or neither slope nor intercept, means that nothing is scaled."""
    given = not (np.isnan(slope) and np.isnan(intercept)) and slope != 0
    if given and not (abs(slope) <= SCALE_LIMIT and abs(intercept) <= SCALE_LIMIT):
        raise FormatError(
            f"{path}: not a NIfTI file (a slope of {slope:g} with an intercept of {intercept:g}); {REMEDY}"
        )
