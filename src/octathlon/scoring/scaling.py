"""What lies beside the logs of a result and is part of it: the committed factor of the RCP normalisation, and
the weak scaling of MLPerf HPC."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path

from octathlon.scoring.olympic import Score
from octathlon.scoring.outcomes import MILLISECONDS, Run
from octathlon.scoring.tree import is_file

FILE = "scaling.json"
LARGEST = 1 << 16
"""Bytes of it that are read; real ones have fifty."""


def committed_factor(folder: Path) -> float | None:
    """The factor by which a result's minutes were multiplied when it was published; 1 without the file.

    From v2.0 on, a submission that converges faster than the reference does, though within the tolerance, is
    slowed down to the reference (training_rules.adoc, "RCPs"). None: the file does not say.
    """
    path = folder / FILE
    if not is_file(path):
        return 1.0
    try:
        with path.open("rb") as file:
            factor = json.loads(file.read(LARGEST))["scaling_factor"]
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None
    return float(factor) if type(factor) in (int, float) and 0 < factor < math.inf else None


def score_models(runs: Sequence[Run], needed: int) -> Score:
    """Weak scaling: many models are trained at once, and all minutes from the first start to the last stop count.

    Args:
        needed: how many of the runs must converge; those that do are the models.
    """
    models = tuple(index for index, run in enumerate(runs) if run.converged)
    if len(models) < needed:
        return Score(None, f"{len(models)} models converged, at least {needed} must")
    logs = [runs[index].log for index in models]
    span = max(log.stop_ms for log in logs) - min(log.start_ms for log in logs)
    return Score(span / MILLISECONDS, kept=models)
