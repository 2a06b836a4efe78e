"""Which archive the workflow planned with: a parameter of the job that fetches it.

Snakemake reruns a job whose parameter changed. An archive is not declared to it (reruns would follow its
time stamp), so the job carries the archive's identity, computed while planning, mostly by stat calls: it
changes exactly when the content does. The job is told the identity that it was planned with and stores it,
with what it saw, in the sidecar `.<name>.seen` beside the receipt.

| since the last job | identity | so |
| --- | --- | --- |
| first plan: the user's copy is there, or nothing is | size and time stamp, or empty | runs (no receipt) |
| nothing happened, or the archive was deleted to free the disk | as stored | nothing runs |
| touched or copied anew, same content | as stored (read once, to be sure) | nothing runs |
| other content | size and time stamp, never as stored | fetched again |
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

from octathlon.archives.checksum import Declared, Seen, verified
from octathlon.errors import OctathlonError
from octathlon.receipts import read_json, write_json


def identity(receipt: Path, file: Path) -> str:
    """The identity of the archive that `receipt` describes; `file` is where its content is watched.

    Reads the file only when its size is as stored but its time stamp is not.
    """
    seen = recall(receipt)
    if not file.exists():
        return seen["identity"] if seen else ""
    status = file.stat()
    stamp = f"{status.st_size}:{status.st_mtime_ns}"
    if not seen:
        return stamp
    if status.st_size == seen["bytes"]:
        if status.st_mtime_ns == seen["mtime_ns"]:
            return seen["identity"]
        now = verified(file, Declared(algorithm=seen["checksum"].partition(":")[0]))
        if now.checksum == seen["checksum"]:
            with suppress(OctathlonError):  # where it can't be noted, the next plan reads the file again
                write_json(_sidecar(receipt), seen | {"mtime_ns": now.mtime_ns})
            return seen["identity"]
    # A file with an old time stamp put back could have the stored identity by chance, though not the content.
    return stamp if stamp != seen["identity"] else f"{stamp}+"


def remember(receipt: Path, planned: str, source: str, seen: Seen) -> None:
    """Store what the job was planned with, where the archive came from and what was seen of it."""
    stored = {"bytes": seen.bytes, "mtime_ns": seen.mtime_ns, "checksum": seen.checksum}
    write_json(_sidecar(receipt), stored | {"identity": planned, "source": source})


def recall(receipt: Path) -> dict[str, Any] | None:
    """What `remember` stored, if anything, and nothing of an earlier version."""
    sidecar = _sidecar(receipt)
    stored = read_json(sidecar) if sidecar.exists() else {}
    return stored if "checksum" in stored else None


def _sidecar(receipt: Path) -> Path:
    return receipt.with_name(f".{receipt.stem}.seen")
