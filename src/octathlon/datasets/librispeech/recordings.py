"""One archive of LibriSpeech -> its samples in one file, its recordings and transcripts in tables.

The archive is read in one pass by one thread, others decode: the largest has 30 GB, and nothing can split it. A few
recordings are in memory. A chapter's transcripts may stand before or after its recordings, so the two are matched at
the end.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np

from octathlon.datasets.kinds import kind_of
from octathlon.datasets.librispeech.tables import RATE, RECORDING, SAMPLE, write_array, write_lines
from octathlon.errors import OctathlonError
from octathlon.formats.tars import stream_targz
from octathlon.receipts import publish

ARCHIVE_LIMIT, FILE_LIMIT = 500_000_000_000, 50_000_000
"""Bytes that no archive unpacks to, and that no file in one has; upstream's are below 33 GB and 2 MB."""
SHORTEST, LONGEST = 400, 120 * RATE
"""Samples: 25 ms is less than any word, and needed to compute features at all; the longest of dev-clean
has 32.6 s."""
CHAPTER_LIMIT, PART_LIMIT = 1_000_000, 100_000_000
"""Bytes of the transcripts of a chapter and of an archive: 670 for each utterance of the largest archive."""
TEXT_LIMIT = 5_000
"""Characters that nobody says in one recording; a transcript's length times the recording's is trained on."""
UTTERANCE_LIMIT = 1_000_000
"""No archive has more; upstream's largest has 148,688."""
DECODERS = min(8, len(os.sched_getaffinity(0)))
"""Threads; more would wait for the one that unpacks the archive."""


def write_part(part: str, archive: Path, out: Path) -> np.ndarray:
    """Write `<part>.pcm`, `.npy` and `.txt` into `out`; returns the recordings, of dtype RECORDING.

    Raises:
        OctathlonError: naming archive and member, if one is damaged, not 16-bit mono at 16 kHz, or has no transcript.
    """
    recordings: dict[str, tuple[int, int]] = {}
    texts: dict[str, str] = {}
    offset = text_bytes = 0
    with publish(out / f"{part}.pcm") as temporary, temporary.open("wb") as file:
        for name, found in _decoded_members(part, archive):
            where = f"{archive}: {name}"
            if isinstance(found, np.ndarray):
                file.write(found)
                recordings[Path(name).stem] = (offset, len(found))
                offset += len(found)
            else:
                texts |= _transcripts(found, where)
                text_bytes += len(found)
                if text_bytes > PART_LIMIT or len(texts) > UTTERANCE_LIMIT:
                    raise OctathlonError(
                        f"{where}: more transcripts than a part of LibriSpeech has; use the archive as it is published"
                    )
        _check_matched(recordings, texts, archive)
    table = np.array([recordings[name] for name in sorted(recordings)], dtype=RECORDING)
    write_array(out / f"{part}.npy", table)
    write_lines(out / f"{part}.txt", [f"{name} {texts[name]}" for name in sorted(texts)])
    return table


def _decoded_members(part: str, archive: Path) -> Iterator[tuple[str, np.ndarray | bytes]]:
    """The members in their order: samples of recordings, transcripts as they are."""
    waiting: deque[tuple[str, Future[np.ndarray | bytes]]] = deque()

    def decoded(name: str, content: bytes) -> np.ndarray | bytes:
        return _decoded(content, f"{archive}: {name}") if name.endswith(".flac") else content

    with ThreadPoolExecutor(DECODERS) as pool:
        for name, content in _members(part, archive):
            waiting.append((name, pool.submit(decoded, name, content)))
            if len(waiting) > 2 * DECODERS:
                name, first = waiting.popleft()
                yield name, first.result()
        yield from ((name, each.result()) for name, each in waiting)


def _members(part: str, archive: Path) -> Iterator[tuple[str, bytes]]:
    """The recordings and transcripts; files outside of the part's folder are of general interest only."""
    folder = f"LibriSpeech/{part}/"
    pattern = re.compile(rf"{folder}(\w+)/(\w+)/\1-\2(-\w+\.flac|\.trans\.txt)", re.ASCII)
    for name, content in stream_targz(archive, ARCHIVE_LIMIT, FILE_LIMIT):
        if pattern.fullmatch(name):
            yield name, content
        elif name.startswith(folder):
            raise OctathlonError(
                f"{archive}: {name} is neither SPEAKER/CHAPTER/SPEAKER-CHAPTER-NUMBER.flac nor its .trans.txt; "
                "name it so or remove it"
            )


def _decoded(content: bytes, where: str) -> np.ndarray:
    """A FLAC file's samples, of dtype SAMPLE.

    libsndfile checks the checksum of every frame, but believes the header's number of samples: too many are memory that
    is never filled, too few cut off the rest.
    """
    import soundfile

    try:
        with soundfile.SoundFile(io.BytesIO(content)) as sound:
            found = (sound.format, sound.subtype, sound.channels, sound.samplerate)
            if sound.frames > LONGEST:
                raise OctathlonError(
                    f"{where}: says that it has {sound.frames:,} samples, but no recording may have more than "
                    f"{LONGEST:,}; cut it, or encode it again with the true number"
                )
            samples = sound.read(dtype="int16") if found == ("FLAC", "PCM_16", 1, RATE) else None
    except (soundfile.SoundFileError, ValueError) as error:
        reason = getattr(error, "error_string", error)  # the whole message has an address in memory
        raise OctathlonError(
            f"{where}: damaged FLAC ({kind_of(content)}: {reason}); fetch the archive again"
        ) from None
    if samples is None:
        raise OctathlonError(
            f"{where}: {found[0]} {found[1]}, {found[2]} channels, {found[3]:,} Hz, but 16-bit mono FLAC at "
            f"{RATE:,} Hz is needed; convert it"
        )
    if _digest(content) not in (bytes(16), hashlib.md5(samples.tobytes(), usedforsecurity=False).digest()):
        raise OctathlonError(
            f"{where}: its header is not that of its {len(samples):,} samples (the MD5 differs); fetch the archive "
            "again, or encode it again"
        )
    if len(samples) < SHORTEST:
        raise OctathlonError(f"{where}: only {len(samples)} samples; fetch the archive again or leave it out")
    return samples.astype(SAMPLE, copy=False)


def _digest(flac: bytes) -> bytes:
    """The MD5 of its samples that a FLAC file's first block holds; zeros where the encoder didn't know it."""
    start = flac.index(b"fLaC") + 26
    return flac[start : start + 16]


def _transcripts(content: bytes, where: str) -> dict[str, str]:
    """Utterance id -> text in lower case, of one chapter."""
    chapter = Path(where).name.removesuffix(".trans.txt")
    texts: dict[str, str] = {}
    if len(content) > CHAPTER_LIMIT:
        raise OctathlonError(
            f"{where}: {len(content):,} bytes are no chapter's transcripts; use the archive as it is published"
        )
    try:
        lines = content.decode().splitlines()
    except UnicodeDecodeError as error:
        raise OctathlonError(f"{where}: not text ({error}); fetch the archive again") from None
    for line in lines:
        name, _, text = line.partition(" ")
        if not name.startswith(f"{chapter}-") or not text.strip() or name in texts:
            raise OctathlonError(
                f"{where}: line {line[:60]!r} is not a new id of the chapter, a space and a text; fix it"
            )
        if len(text) > TEXT_LIMIT:
            raise OctathlonError(
                f"{where}: {name} has a transcript of {len(text):,} characters, more than {TEXT_LIMIT:,}; cut it and "
                "its recording into several"
            )
        texts[name] = text.lower().strip()
    return texts


def _check_matched(recordings: dict[str, tuple[int, int]], texts: dict[str, str], archive: Path) -> None:
    if not recordings:
        raise OctathlonError(f"{archive}: no recordings in it; use the archive as it is published")
    if missing := sorted(set(recordings) - set(texts)):
        raise OctathlonError(
            f"{archive}: {missing[0]}.flac has no line in a .trans.txt; add it, or fetch it again"
        )
    if missing := sorted(set(texts) - set(recordings)):
        raise OctathlonError(f"{archive}: the recording {missing[0]}.flac is missing; fetch it again")
