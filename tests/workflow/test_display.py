"""What a terminal shows of a workflow: a real Snakemake, on a pseudo-terminal."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

from tiny_project import ROOT

sys.path.insert(0, str(ROOT / "tests/unit"))
from training_logs import line, log_lines

SNAKEFILE = """
rule all:
    input: expand("{benchmark}_{n}.txt", benchmark=["bert", "resnet"], n=range(3)), "bad"
rule train:
    output: "{benchmark}_{n}.txt"
    log: "logs/{benchmark}_{n}.log"
    shell: "cp {wildcards.benchmark}.mllog {output} 2> {log}"
rule broken:
    output: "bad"
    log: "logs/broken.log"
    shell: "(echo one; echo octathlon: day_0.gz: cut short, fetch it again; exit 1) > {log}"
"""
CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\r")


def snakemake(folder: Path, *arguments: str) -> tuple[str, list[str]]:
    """All that Snakemake writes on a terminal, and the lines that stay there."""
    command = [sys.executable, "-m", "snakemake", "--cores", "1", "--keep-going", "--printshellcmds"]
    terminal, end = pty.openpty()
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "100", "LINES": "40"}
    with subprocess.Popen(
        [*command, "--logger", "octathlon", *arguments], cwd=folder, env=environment, stdout=end, stderr=end
    ):
        os.close(end)
        written = b"".join(iter(lambda: _read(terminal), b"")).decode()
    os.close(terminal)
    # the live lines are wiped by \x1b[2K before what stays is written over them
    kept = [CONTROL.sub("", text.split("\x1b[2K")[-1]) for text in written.split("\n")]
    return written, kept


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 1 << 16)
    except OSError:  # how Linux says that the other end is closed
        return b""


def test_a_terminal_shows_rules_qualities_and_what_failed(tmp_path):
    (tmp_path / "Snakefile").write_text(SNAKEFILE)
    target = line("quality_target", 1, {"accuracy": {"at_least": 0.759}})
    (tmp_path / "resnet.mllog").write_text("\n".join([target, *log_lines(quality=[0.5, 0.7634])]))
    target = line("quality_target", 1, {"mlm_accuracy": {"at_least": 0.72}})
    aborted = log_lines(benchmark="bert", quality=[0.6, 0.61], status="aborted")
    (tmp_path / "bert.mllog").write_text("\n".join([target, *aborted]))

    plan, _ = snakemake(tmp_path, "--dry-run")
    assert "bert_0.txt: Missing output files: bert_0.txt" in plan
    assert "8 jobs: 1 broken, 6 train, 1 all" in plan

    written, kept = snakemake(tmp_path)
    text = "\n".join(kept)
    assert re.search(r"^train +6 of 6 ", text, re.MULTILINE)
    assert "  resnet, accuracy ≥ 0.759: 0.7634  0.7634  0.7634" in text
    assert "  bert, mlm_accuracy ≥ 0.72: 0.61 (aborted)  0.61 (aborted)  0.61 (aborted)" in text
    assert "6 of 8 jobs in 0:0" in text and re.search(r"about \d:\d\d left", written)
    told = "broken failed: bad\n  octathlon: day_0.gz: cut short, fetch it again\n  log: logs/broken.log"
    assert text.strip().endswith(told)
    assert "cp resnet.mllog" not in written and len(kept) < 20
    scheduler_log = next(tmp_path.glob(".snakemake/log/*.log"))
    assert "cp resnet.mllog" in scheduler_log.read_text()


def test_without_a_terminal_the_log_is_snakemakes_own(tmp_path):
    (tmp_path / "Snakefile").write_text('rule one:\n    output: "one"\n    shell: "touch {output}"\n')
    command = [sys.executable, "-m", "snakemake", "--cores", "1", "--logger", "octathlon"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "rule one:\n    output: one" in done.stderr and "\x1b" not in done.stderr
