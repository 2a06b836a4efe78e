"""The READMEs of a submission package."""

from __future__ import annotations

from collections.abc import Sequence

from octathlon.scoring.entries import Entry
from octathlon.scoring.tables import to_markdown

ORGANISATION = """\
# {org}

Results made with Octathlon by the rules of MLPerf Training v1.1. They were not submitted to, or verified by,
MLCommons.

{table}
* `systems/`: the description of each system.
* `results/<system>/<benchmark>/`: the log of each run; minutes are their olympic mean.
* `benchmarks/<benchmark>/implementations/octathlon/`: the code, the configuration, and how to run them.
"""

IMPLEMENTATION = """\
# {benchmark}, the implementation of Octathlon

{table}
`config.yaml` is the configuration that these results were made with, `src/octathlon/benchmarks/{benchmark}/`
the benchmark, `src/octathlon/harness/` the timed run, `envs/requirements.lock` the software. To run it again:

    python -m venv .venv && . .venv/bin/activate
    pip install -r envs/requirements.lock -e .
    snakemake --cores all --config 'benchmarks=[{benchmark}]'

The logs are then in `results/`: `octathlon score results` scores them, `octathlon check results` checks them.
"""


def of_organisation(entries: Sequence[Entry]) -> str:
    """What stands beside `systems`, `results` and `benchmarks`."""
    return ORGANISATION.format(org=entries[0].org, table=to_markdown(entries))


def of_implementation(entries: Sequence[Entry]) -> str:
    """What stands with the code of one benchmark; `entries` are its results."""
    return IMPLEMENTATION.format(benchmark=entries[0].benchmark, table=to_markdown(entries))
