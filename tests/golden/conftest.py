"""The real results of the rounds, where the shared folder beside the repository has them."""

import csv
import subprocess
from pathlib import Path

import pytest

ROUNDS = Path(__file__).resolve().parents[2].parent / "shared" / "rounds"


@pytest.fixture(scope="session")
def results_tree(tmp_path_factory):
    """A function that unpacks the part of a round's results that is at hand, once a session."""
    trees = {}

    def unpack(round_name, kind="part"):
        series = "" if round_name.startswith("hpc") else "training_"
        name = f"{series}{round_name}".replace("_v", "_results_v")
        archive = ROUNDS / f"{name}-{kind}.tar.zst"
        if not archive.is_file():
            pytest.skip(f"no {archive.name} beside the repository")
        if (round_name, kind) not in trees:
            tree = tmp_path_factory.mktemp("rounds") / round_name
            tree.mkdir()
            command = ["tar", "--extract", "--use-compress-program=zstd --long=27", "--file", archive]
            subprocess.run([*command, "--directory", tree], check=True)
            trees[round_name, kind] = tree
        return trees[round_name, kind]

    return unpack


@pytest.fixture(scope="session")
def expected_rows():
    """A function that gives the rows of a round's expected results."""

    def read(round_name, kind="part"):
        path = ROUNDS / f"expected_{round_name}-{kind}.csv"
        if not path.is_file():
            pytest.skip(f"no {path.name} beside the repository")
        with path.open(newline="") as file:
            return list(csv.DictReader(file))

    return read
