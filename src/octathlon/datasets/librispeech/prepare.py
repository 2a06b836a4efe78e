"""LibriSpeech archives -> samples in large files, transcripts in word pieces, tables sorted by length, a manifest.

An archive is a job of its own; the last step needs nothing but their tables. What the files hold: `tables`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from octathlon.datasets.librispeech.recordings import write_part
from octathlon.datasets.librispeech.settings import Settings
from octathlon.datasets.librispeech.tables import (
    MODEL,
    RATE,
    RECORDING,
    UTTERANCE,
    read_array,
    read_lines,
    write_array,
    write_lines,
)
from octathlon.datasets.librispeech.vocabulary import encode, spelled_in_pieces, train_vocabulary
from octathlon.errors import OctathlonError
from octathlon.receipts import describe, read_json, write_json


def archives(settings: Settings) -> list[str]:
    """The archives that the preparation needs."""
    return [f"{part}.tar.gz" for part in _parts(settings)]


def steps(settings: Settings) -> dict[str, list[str]]:
    """The steps before `manifest`: one for each archive, and named like it."""
    return {"part": _parts(settings)}


def prepare(step: str, archives: Path, out: Path, settings: Settings) -> None:
    """Run one step: one of `steps`, or `manifest` after all of them.

    Raises:
        OctathlonError: naming archive and member, if one is damaged, or what else is wrong.
    """
    parts = _parts(settings)
    if step in parts:
        _prepare_part(step, archives / f"{step}.tar.gz", out)
    elif step == "manifest":
        _write_manifest(out, settings)
    else:
        raise OctathlonError(f"librispeech has no step {step!r}; choose {', '.join(parts)}, or manifest")


def _parts(settings: Settings) -> list[str]:
    return [*settings.train_parts, settings.eval_part]


def _prepare_part(part: str, archive: Path, out: Path) -> None:
    recordings = write_part(part, archive, out)
    receipt = {
        "format": 1,
        "stage": "prepare",
        "dataset": "librispeech",
        "step": part,
        "files": {name: describe(out / name) for name in (f"{part}.pcm", f"{part}.npy", f"{part}.txt")},
        "counts": {"utterances": len(recordings), "samples": int(recordings["samples"].sum())},
    }
    write_json(out / "receipts" / f"{part}.json", receipt)


def _write_manifest(out: Path, settings: Settings) -> None:
    parts = _parts(settings)
    receipts = [read_json(out / "receipts" / f"{part}.json") for part in parts]
    texts = [[line.partition(" ")[2] for line in read_lines(out / f"{part}.txt")] for part in parts]
    recordings = [read_array(out / f"{part}.npy", RECORDING) for part in parts]
    train_texts = [text for part in texts[:-1] for text in part]
    train_vocabulary(train_texts, settings.vocabulary, out)

    utterances = _utterances(recordings[:-1], first_part=0)
    admitted = np.flatnonzero(utterances["samples"] <= settings.max_duration_s * RATE)
    if not len(admitted):
        raise OctathlonError(
            f"no training utterance has {settings.max_duration_s} s or less; raise max_duration_s"
        )
    order = admitted[np.argsort(utterances["samples"][admitted], kind="stable")]
    train = _write_split("train", utterances[order], [train_texts[number] for number in order], out)
    evaluation = _write_split("eval", _utterances(recordings[-1:], len(parts) - 1), texts[-1], out)
    eval_texts = spelled_in_pieces(texts[-1], out)
    write_lines(out / "eval.txt", eval_texts)

    written = [
        MODEL,
        "eval.txt",
        *(f"{split}.{kind}" for split in ("train", "eval") for kind in ("npy", "tokens.npy")),
    ]
    files = {name: facts for receipt in receipts for name, facts in receipt["files"].items()}
    manifest = {
        "format": 1,
        "dataset": "librispeech",
        "shards": files | {name: describe(out / name) for name in written},
        "parts": parts,
        "pieces": settings.vocabulary,
        "max_duration_s": settings.max_duration_s,
        "counts": {
            "train": len(train),
            "train_too_long": len(utterances) - len(train),
            "eval": len(evaluation),
            "eval_words": sum(len(text.split()) for text in eval_texts),
        },
        "longest": {"train": _longest(train), "eval": _longest(evaluation)},
        "hours": _hours(parts, receipts),
    }
    write_json(out / "manifest.json", manifest)


def _utterances(recordings: list[np.ndarray], first_part: int) -> np.ndarray:
    """The recordings of some parts as a table of dtype UTTERANCE, without tokens yet."""
    table = np.zeros(sum(map(len, recordings)), dtype=UTTERANCE)
    together = np.concatenate(recordings)
    table["part"] = first_part + np.repeat(np.arange(len(recordings)), [len(each) for each in recordings])
    table["offset"], table["samples"] = together["offset"], together["samples"]
    return table


def _write_split(split: str, table: np.ndarray, texts: list[str], out: Path) -> np.ndarray:
    """Write a split's table and tokens; returns the table."""
    tokens, counts = encode(texts, out)
    table["tokens"] = counts
    table["first_token"] = np.cumsum(counts) - counts
    write_array(out / f"{split}.tokens.npy", tokens)
    write_array(out / f"{split}.npy", table)
    return table


def _longest(table: np.ndarray) -> dict[str, int]:
    return {"samples": int(table["samples"].max()), "tokens": int(table["tokens"].max())}


def _hours(parts: list[str], receipts: list[Mapping[str, Any]]) -> dict[str, float]:
    samples = [receipt["counts"]["samples"] for receipt in receipts]
    return {part: round(count / RATE / 3600, 3) for part, count in zip(parts, samples, strict=True)}
