"""LibriSpeech archives, miniature or made by hand, for the tests of their readers."""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from preparing import draw_all, run_steps

from octathlon.datasets.librispeech.settings import Settings

SIZES = {"speakers": 3, "utterances": 8, "dev_speakers": 2, "dev_utterances": 5}
CHAPTER = "LibriSpeech/train-clean-100/7/70/7-70"
DEV_CHAPTER = "LibriSpeech/dev-clean/9/90/9-90"


def settings(**over: Any) -> Settings:
    """Of the miniature; `over` goes on top."""
    values = {
        "source": "miniature",
        "miniature": SIZES,
        "train_parts": ["train-clean-100", "train-clean-360", "train-other-500"],
        "eval_part": "dev-clean",
        "vocabulary": 22,
        "max_duration_s": 16.7,
    }
    return Settings(**values | over)


def draw(folder: Path, seed: int = 1, **sizes: int) -> Path:
    """All archives of a miniature in `folder`."""
    return draw_all("librispeech", folder, seed, **SIZES | sizes)


def prepare_all(archives: Path, out: Path, chosen: Settings | None = None) -> Path:
    """Run every step."""
    return run_steps("librispeech", archives, out, chosen or settings())


def flac(samples: np.ndarray, rate: int = 16_000, subtype: str = "PCM_16", form: str = "FLAC") -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format=form, subtype=subtype)
    return buffer.getvalue()


def samples(seed: int, count: int = 8000) -> np.ndarray:
    """Noise, int16 of shape (count,)."""
    return np.random.default_rng(seed).integers(-9999, 9999, count, dtype=np.int16)


def train_files() -> dict[str, bytes]:
    """A chapter of three utterances, of 3,000, 2,000 and 1,000 samples."""
    files = {
        f"{CHAPTER}-{number:04d}.flac": flac(samples(number, 3000 - 1000 * number)) for number in range(3)
    }
    text = b"7-70-0000 HE'S A CAT\n7-70-0001 THE CAT SAT\n7-70-0002 A HAT\n"
    return {"LibriSpeech/README.TXT": b"hello\n", **files, f"{CHAPTER}.trans.txt": text}


def dev_files() -> dict[str, bytes]:
    return {f"{DEV_CHAPTER}.trans.txt": b"9-90-0000 THAT CAT\n", f"{DEV_CHAPTER}-0000.flac": flac(samples(9))}


HAND_MADE = {"train_parts": ["train-clean-100"], "vocabulary": 12}
"""Settings for the archives that `write` writes."""


def write(
    folder: Path, train: Mapping[str, bytes] | None = None, dev: Mapping[str, bytes] | None = None
) -> Path:
    """Archives of these files in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    for part, files in (("train-clean-100", train or train_files()), ("dev-clean", dev or dev_files())):
        with (
            gzip.open(folder / f"{part}.tar.gz", "wb") as packed,
            tarfile.open(fileobj=packed, mode="w") as tar,
        ):
            for name, content in files.items():
                member = tarfile.TarInfo(name)
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    return folder
