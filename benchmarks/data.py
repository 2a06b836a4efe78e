"""Preparations and loaders of all data sets that have a script of their own, beside those of peers, as one table.

python benchmarks/data.py [--output FILE]    # then: python docs/generate.py data
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from timing import HEADER, ROUNDS, conditions

SCRIPTS = {"imagenet": "192", "coco": "144", "kits19": "1", "click_logs": "50000"}
"""And how many pictures, cases or rows each is given."""


def measured(script: str) -> list[str]:
    """What a script prints."""
    command = [sys.executable, "-W", "ignore", str(Path(__file__).with_name(f"{script}.py"))]
    command.append(SCRIPTS[script])
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()


def document(lines: list[str]) -> str:
    """What was measured where and when, the rows, and what is not the same work."""
    rows = [line for line in lines if line.startswith("|") and line not in HEADER]
    notes = dict.fromkeys(line for line in lines if line.startswith("*"))
    return "\n".join([conditions(ROUNDS), "", HEADER, *rows, "", *notes, ""])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--output", type=Path, help="a file for the table (Markdown)")
    options = parser.parse_args()
    text = document([line for script in SCRIPTS for line in measured(script)])
    print(text)
    if options.output:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text(text)


if __name__ == "__main__":
    main()
