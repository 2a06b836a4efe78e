"""Damaged and hostile archives: each ends in one sentence, within a little memory and time."""

from __future__ import annotations

import csv
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

CASES = Path(__file__).parents[3] / "shared/hostile/cases.tar.zst"
VALID = {"wk_q_comment", "wk_q_ref"}
"""Pages with markup that nothing closes, which MediaWiki takes."""
MOST_BYTES, MOST_SECONDS = 512 << 20, 10

pytestmark = pytest.mark.skipif(not CASES.exists(), reason="no ../shared/hostile")

REPLAY = """
import json, resource, sys
from pathlib import Path
from click.testing import CliRunner
from octathlon.cli import octathlon
from octathlon.errors import OctathlonError

def seconds():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime

for line in sys.stdin:
    words = json.loads(line)
    Path("/proc/self/clear_refs").write_text("5")  # the peak of memory begins anew
    start = seconds()
    done = CliRunner().invoke(octathlon, words)
    peak = Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]
    expected = done.exception is None or isinstance(done.exception, (OctathlonError, SystemExit))
    print(json.dumps({
        "code": done.exit_code, "text": f"{done.output}{done.exception}" if expected else repr(done.exception),
        "sentence": expected, "bytes": int(peak) * 1024, "seconds": seconds() - start,
    }), flush=True)
"""


@pytest.fixture(scope="module")
def ended(tmp_path_factory) -> dict[str, dict]:
    """How the command of each case ended, all of them in one process after the other."""
    folder = tmp_path_factory.mktemp("hostile")
    subprocess.run(["tar", "--zstd", "-xf", CASES, "-C", folder], check=True)
    (table,) = folder.glob("*/cases.tsv")
    with table.open() as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    lines = []
    for row in rows:
        text = row["command"].replace("{case}", str(table.parent / row["case"]))
        lines.append(json.dumps(shlex.split(text.replace("{out}", str(folder / "out" / row["case"])))[1:]))
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", REPLAY],
        input="\n".join(lines),
        capture_output=True,
        text=True,
        check=True,
        env=environment,
    )
    answers = map(json.loads, done.stdout.splitlines())
    return {row["case"]: answer for row, answer in zip(rows, answers, strict=True)}


def test_each_ends_in_a_sentence(ended):
    assert len(ended) >= 28
    assert {case: answer["text"] for case, answer in ended.items() if not answer["sentence"]} == {}
    assert {case for case, answer in ended.items() if answer["code"] == 0} == VALID


def test_none_takes_much_memory_or_time(ended):
    assert {case: answer["bytes"] for case, answer in ended.items() if answer["bytes"] > MOST_BYTES} == {}
    assert {
        case: answer["seconds"] for case, answer in ended.items() if answer["seconds"] > MOST_SECONDS
    } == {}
