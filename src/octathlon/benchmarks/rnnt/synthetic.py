"""Made-up data in the prepared format of LibriSpeech, to rehearse on."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from octathlon.benchmarks.rnnt.settings import Settings
from octathlon.datasets.librispeech.settings import Settings as DatasetSettings
from octathlon.datasets.librispeech.tables import (
    RATE,
    SAMPLE,
    TOKEN,
    UTTERANCE,
    read_model,
    write_array,
    write_lines,
)
from octathlon.datasets.librispeech.vocabulary import train_vocabulary
from octathlon.receipts import write_json

PART = "noise"
NOISE_S = 60
LONG = 0.88
"""The part of the utterances that have more than three fifths of the longest one's length: LibriSpeech's mean of 12.3 s
follows from it."""
TOKENS_PER_S = 4
LETTERS = "ETAOINSHRDLU"


def write(folder: Path, settings: Settings, data: DatasetSettings, _share: float) -> Settings:
    """Utterances that are cut from one minute of noise, and random transcripts."""
    sizes, rng = data.synthetic, np.random.default_rng(0)
    noise = rng.normal(0, 3000, NOISE_S * RATE).clip(-32768, 32767).astype(SAMPLE)
    noise.tofile(folder / f"{PART}.pcm")
    train_vocabulary(_texts(rng), data.vocabulary, folder)
    counts = {"train": sizes["train"], "eval": sizes["evaluated"]}
    tables = {split: _table(sizes, count, rng) for split, count in counts.items()}
    tokens = {
        split: rng.integers(1, data.vocabulary, table["tokens"].sum(), dtype=TOKEN)
        for split, table in tables.items()
    }
    for split, table in tables.items():
        write_array(folder / f"{split}.npy", table)
        write_array(folder / f"{split}.tokens.npy", tokens[split])
    spoken = np.split(tokens["eval"].astype(np.int32), tables["eval"]["first_token"][1:])
    write_lines(folder / "eval.txt", read_model(folder).decode([each.tolist() for each in spoken]))
    manifest = {
        "dataset": "librispeech",
        "parts": [PART],
        "pieces": data.vocabulary,
        "max_duration_s": data.max_duration_s,
        "counts": counts,
        "longest": {
            split: {key: int(table[key].max()) for key in ("samples", "tokens")}
            for split, table in tables.items()
        },
    }
    write_json(folder / "manifest.json", manifest)
    return settings


def _texts(rng: np.random.Generator) -> list[str]:
    """Many repetitions of some made-up words, for a vocabulary to be learnt from."""
    words = ["".join(rng.choice(list(LETTERS), rng.integers(2, 9))) for _ in range(2000)]
    return [" ".join(rng.choice(words, 8)) for _ in range(2000)]


def _table(sizes: dict[str, int], count: int, rng: np.random.Generator) -> np.ndarray:
    """Utterances, shortest first, of dtype UTTERANCE."""
    shortest, longest = (sizes[key] * RATE // 1000 for key in ("shortest_ms", "longest_ms"))
    middle = max(longest * 3 // 5, shortest)
    is_long = rng.random(count) < LONG
    lengths = np.where(
        is_long, rng.integers(middle, longest, count), rng.integers(shortest, middle + 1, count)
    )
    table = np.zeros(count, UTTERANCE)
    table["samples"] = np.sort(lengths)
    table["offset"] = rng.integers(0, NOISE_S * RATE - longest, count)
    table["tokens"] = 1 + table["samples"] * TOKENS_PER_S // RATE
    table["first_token"] = np.cumsum(table["tokens"]) - table["tokens"]
    return table
