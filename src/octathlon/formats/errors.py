"""What every reader of untrusted bytes raises."""

from __future__ import annotations

from pathlib import Path

from octathlon.errors import OctathlonError

REMEDY = "use the archive as it is published"


class FormatError(OctathlonError):
    """A file that is damaged, hostile, or asks for more than the bounds of its format's reader."""


def unreadable(path: Path, error: OSError) -> FormatError:
    """What to say of an archive that the system does not let us read."""
    remedy = f"delete its receipt {path.name}.json, then rerun to fetch it again"
    return FormatError(f"{path}: cannot read it ({error.strerror}); {remedy}")
