"""The prepared format: all samples of an archive in one file, and tables that say what lies where.

<part>.pcm          16-bit samples at 16 kHz, one recording after the other; any of them is one system call away
<part>.npy, .txt    its recordings (RECORDING) and "id transcript" lines, in the order of their ids
train.npy           the training utterances (UTTERANCE), shortest first: any number of buckets is so many slices
eval.npy, eval.txt  the evaluation utterances in the order of their ids, and their transcripts, spelled in pieces
<split>.tokens.npy  the sentencepiece ids of all transcripts of a split, one after the other, uint16
tokens.model        the sentencepiece model
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from octathlon.errors import OctathlonError
from octathlon.receipts import publish

if TYPE_CHECKING:
    from sentencepiece import SentencePieceProcessor

RATE = 16_000
SAMPLE = np.dtype("<i2")
RECORDING = np.dtype([("offset", "<i8"), ("samples", "<i4")])
"""Where a recording starts and how long it is, both in samples."""
UTTERANCE = np.dtype(
    [
        *[("part", "<i4"), ("offset", "<i8"), ("samples", "<i4")],
        *[("first_token", "<i8"), ("tokens", "<i4")],
    ]
)
"""`part` counts the manifest's `parts`; offset and samples as in RECORDING."""
TOKEN = np.dtype("<u2")
MODEL = "tokens.model"


def write_array(path: Path, array: np.ndarray) -> None:
    """Write a .npy file atomically."""
    with publish(path) as temporary, temporary.open("wb") as file:
        np.save(file, array, allow_pickle=False)


def read_array(path: Path, dtype: np.dtype) -> np.ndarray:
    """A one-dimensional array of `dtype`.

    Raises:
        OctathlonError: if the file is missing or not such an array.
    """
    try:
        array = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise OctathlonError(f"{path}: cannot read it ({error}); prepare librispeech again") from error
    if array.dtype != dtype or array.ndim != 1:
        raise OctathlonError(f"{path}: not an array of {dtype}; prepare librispeech again")
    return array


def write_lines(path: Path, lines: list[str]) -> None:
    """Write a text file atomically."""
    with publish(path) as temporary:
        temporary.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def read_lines(path: Path) -> list[str]:
    """The lines of a text file that `write_lines` wrote.

    Raises:
        OctathlonError: if the file is missing or not such text.
    """
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise OctathlonError(f"{path}: cannot read it ({error}); prepare librispeech again") from error


def read_model(folder: Path) -> SentencePieceProcessor:
    """The sentencepiece model.

    Raises:
        OctathlonError: if the file is missing or damaged.
    """
    from sentencepiece import SentencePieceProcessor

    try:
        return SentencePieceProcessor(model_file=str(folder / MODEL))
    except (OSError, RuntimeError) as error:
        raise OctathlonError(
            f"{folder / MODEL}: cannot read it ({error}); prepare librispeech again"
        ) from None
