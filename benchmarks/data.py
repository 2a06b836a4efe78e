"""Preparations, loaders, BERT's step and minigo's engine beside those of peers, as one table.

    python benchmarks/data.py [--output FILE]    # then: python docs/generate.py data

A peer that is not installed is named and left out; envs/peers.txt has all of them. The file is written anew after each
script.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from timing import HEADER, ROUNDS, conditions

SCRIPTS = {
    "imagenet": ["96"],
    "coco": ["96"],
    "kits19": ["1"],
    "click_logs": ["100000"],
    "librispeech": ["64"],
    "wikipedia": [],
    "bert_step": [],
    "minigo": [],
}
"""With how many pictures, cases, rows or utterances."""


def measured(script: str) -> list[str]:
    """What a script prints."""
    command = [sys.executable, "-W", "ignore", str(Path(__file__).with_name(f"{script}.py"))]
    command += SCRIPTS[script]
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
    lines: list[str] = []
    for script in SCRIPTS:
        lines += measured(script)
        if options.output:
            options.output.parent.mkdir(parents=True, exist_ok=True)
            options.output.write_text(document(lines))
    print(document(lines), *(line for line in lines if "not installed" in line), sep="\n")


if __name__ == "__main__":
    main()
