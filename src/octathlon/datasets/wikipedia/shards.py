"""The prepared format: HDF5 files of samples of their real length, in the layout that MLPerf submissions read.

Datasets of n rows: input_ids, masked_lm_positions, masked_lm_ids (variable-length int16), segment_ids (variable-length
int8), next_sentence_labels (int8; 1: segment 1 does not follow segment 0). There is no padding, hence no mask.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np

from octathlon.datasets.wikipedia.ragged import Ragged
from octathlon.datasets.wikipedia.samples import FIELDS, Samples
from octathlon.errors import OctathlonError
from octathlon.receipts import publish


def write_shard(path: Path, samples: Samples) -> None:
    """Write samples; equal samples give equal bytes.

    HDF5 makes the file in memory, where the samples are already: it crashes when a disk is full.
    """
    with publish(path) as temporary:
        with h5py.File(temporary, "w", driver="core", backing_store=False) as file:
            for name, dtype in FIELDS.items():
                rows = samples.fields[name].rows()
                file.create_dataset(
                    name, data=rows, dtype=h5py.vlen_dtype(np.dtype(dtype)), track_times=False
                )
            labels = samples.next_sentence_labels.astype("<i1")
            file.create_dataset("next_sentence_labels", data=labels, track_times=False)
            file.flush()
            content = file.id.get_file_image()
        temporary.write_bytes(content)


def read_shard(path: Path) -> Samples:
    """Read a whole shard.

    Raises:
        OctathlonError: if the file is missing or damaged, or fields contradict each other.
    """
    with _naming(path), h5py.File(path, "r") as file:
        fields = {name: Ragged.of(file[name][:], dtype) for name, dtype in FIELDS.items()}
        samples = Samples(fields, file["next_sentence_labels"][:])
        lengths = [field.lengths for field in fields.values()]
        if any(len(length) != len(samples) for length in lengths):
            raise ValueError("the datasets have different numbers of rows")
        if (lengths[0] != lengths[1]).any() or (lengths[2] != lengths[3]).any():
            raise ValueError("rows of one sample have different lengths")
    return samples


def checksum(input_ids: Ragged) -> str:
    """The MD5 by which submitters compare shards: that of the list of the MD5s of the rows' texts."""
    digests = [_md5(str(row.tolist())) for row in map(input_ids.__getitem__, range(len(input_ids)))]
    return _md5(str(digests))


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise OctathlonError(f"{path}: cannot read the samples ({error}); prepare wikipedia again") from error
