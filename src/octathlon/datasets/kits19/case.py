"""One case as upstream publishes it: two gzipped NIfTI-1 files, which must fit together."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from octathlon.errors import OctathlonError
from octathlon.formats.errors import REMEDY

if TYPE_CHECKING:  # a plan of the workflow needs no nibabel
    from octathlon.formats.nifti import Volume

CLASSES = ("background", "kidney", "tumour")
HOUNSFIELD_LIMIT = 1e9
"""No scanner's units are so large. Beyond some 1e38 they would be no numbers in single precision."""


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
    from octathlon.formats.nifti import read_volume

    image_path, label_path = (archives / name for name in case_files(number))
    image = read_volume(image_path)
    _check_axes(image, image_path)
    if not (
        image.values.min() >= -HOUNSFIELD_LIMIT and image.values.max() <= HOUNSFIELD_LIMIT
    ):  # both false for what is no number
        raise OctathlonError(f"{image_path}: has voxels that are no Hounsfield units; {REMEDY}")
    label = read_volume(label_path, like=image)
    if not np.allclose(image.axes, label.axes, atol=1e-2):
        raise OctathlonError(
            f"{label_path}: its affine is not the image's; use files of one case and release"
        )
    if not ((label.values == 0) | (label.values == 1) | (label.values == 2)).all():
        raise OctathlonError(f"{label_path}: has values other than 0, 1 and 2; {REMEDY}")
    return Case(image.values, label.values.astype(np.uint8), image.spacing)


def _check_axes(volume: Volume, path: Path) -> None:
    """Slices, rows and columns must run along the patient's z, y and x, at the header's spacing."""
    if not np.allclose(np.abs(volume.axes), np.diag(volume.spacing)[::-1], atol=1e-2):
        raise OctathlonError(
            f"{path}: its affine does not send slices, rows and columns {np.round(volume.spacing, 4).tolist()} mm "
            f"apart along z, y and x; {REMEDY}"
        )
