"""One case as upstream publishes it: two gzipped NIfTI-1 files, read with doubt."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from nibabel.nifti1 import Nifti1Header
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError

from octathlon.errors import OctathlonError
from octathlon.formats.errors import REMEDY
from octathlon.formats.gzips import open_gzip

CLASSES = ("background", "kidney", "tumour")
VOXEL_LIMIT = 1 << 30
"""No volume has more: upstream's largest has 0.28 billion."""
SPACING_LIMITS = (0.1, 20.0)
"""Millimetres."""
HOUNSFIELD_LIMIT = 1e9
"""No scanner's units are so large. Beyond some 1e38 they would be no numbers in single precision."""
HEADER_LIMIT = 1 << 20
"""No header, extensions included, has more bytes."""


@dataclass(frozen=True, slots=True)
class Case:
    """Axes are slices (head to feet), rows (front to back) and columns (right to left)."""

    image: np.ndarray
    """Hounsfield units, of any real type."""
    label: np.ndarray
    """uint8, an index into CLASSES."""
    spacing: tuple[float, float, float]
    """Millimetres from slice to slice, row to row, column to column."""


def case_name(number: int) -> str:
    """E.g. case_00012."""
    return f"case_{number:05d}"


def case_files(number: int) -> tuple[str, str]:
    """The archives of a case: image, label."""
    folder = f"data/{case_name(number)}"
    return f"{folder}/imaging.nii.gz", f"{folder}/segmentation.nii.gz"


def read_case(archives: Path, number: int) -> Case:
    """Read both volumes of a case.

    Raises:
        OctathlonError: naming the file, if it is missing or damaged, or if the two do not fit together.
    """
    image_path, label_path = (archives / name for name in case_files(number))
    header, image = _read_nifti(image_path)
    label_header, label = _read_nifti(label_path)
    if label.shape != image.shape:
        raise OctathlonError(
            f"{label_path}: shape {label.shape}, but the image has {image.shape}; use files of one case"
        )
    if not np.allclose(_axes(header), _axes(label_header), atol=1e-2):
        raise OctathlonError(
            f"{label_path}: its affine is not the image's; use files of one case and release"
        )
    if not (
        image.min() >= -HOUNSFIELD_LIMIT and image.max() <= HOUNSFIELD_LIMIT
    ):  # both false for what is no number
        raise OctathlonError(f"{image_path}: has voxels that are no Hounsfield units; {REMEDY}")
    if not ((label == 0) | (label == 1) | (label == 2)).all():
        raise OctathlonError(f"{label_path}: has values other than 0, 1 and 2; {REMEDY}")
    return Case(image, label.astype(np.uint8), tuple(map(float, header.get_zooms())))


def _read_nifti(path: Path) -> tuple[Nifti1Header, np.ndarray]:
    """The header and the values: scaled if the header says so, else of the stored type.

    Read to the end, where gzip's checksum stands: what was cut short in a download doesn't pass.
    """
    with open_gzip(path, HEADER_LIMIT + VOXEL_LIMIT * 8) as stream:
        header = _read_header(stream, path)
        kind, shape = header.get_data_dtype(), header.get_data_shape()
        stream.read(header.get_data_offset() - header.sizeof_hdr)
        wanted = int(np.prod(shape, dtype=np.int64)) * kind.itemsize
        content = stream.read(wanted)
        if len(content) < wanted or stream.read(1):
            raise OctathlonError(f"{path}: not as many bytes as its header promises; fetch it again")
    values = np.frombuffer(content, kind).reshape(shape, order="F")
    slope, intercept = header.get_slope_inter()
    if slope is None or (slope, intercept) == (1, 0):
        return header, values
    return header, values * slope + intercept


def _read_header(stream: BinaryIO, path: Path) -> Nifti1Header:
    try:
        header = Nifti1Header(stream.read(Nifti1Header.sizeof_hdr))
        shape, kind, offset = header.get_data_shape(), header.get_data_dtype(), header.get_data_offset()
        header.get_slope_inter()
    except (HeaderDataError, WrapStructError, ValueError, OverflowError) as error:  # for what is no number
        raise OctathlonError(f"{path}: not a NIfTI file ({error}); fetch it again") from error
    if len(shape) != 3 or not 0 < np.prod(shape, dtype=float) <= VOXEL_LIMIT or min(shape) < 0:
        raise OctathlonError(f"{path}: shape {shape} is not that of a CT volume; {REMEDY}")
    if kind.kind not in "iuf" or not header.sizeof_hdr <= offset <= HEADER_LIMIT:
        raise OctathlonError(f"{path}: voxels of type {kind} from byte {offset} on make no sense; {REMEDY}")
    _check_axes(header, path)
    return header


def _check_axes(header: Nifti1Header, path: Path) -> None:
    """Slices, rows and columns must run along the patient's z, y and x, at the header's spacing."""
    spacing = np.array(header.get_zooms(), np.float64)
    if not ((spacing >= SPACING_LIMITS[0]) & (spacing <= SPACING_LIMITS[1])).all():
        raise OctathlonError(f"{path}: a spacing of {spacing.round(4).tolist()} mm is impossible; {REMEDY}")
    if not np.allclose(np.abs(_axes(header)), np.diag(spacing)[::-1], atol=1e-2):
        raise OctathlonError(
            f"{path}: its affine does not send slices, rows and columns {spacing.round(4).tolist()} mm apart along "
            f"z, y and x; {REMEDY}"
        )


def _axes(header: Nifti1Header) -> np.ndarray:
    """The affine without its origin: which way, in x, y and z, a step along each axis goes."""
    return header.get_best_affine()[:3, :3]
