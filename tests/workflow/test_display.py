"""What a terminal shows of a workflow: a real Snakemake, on a pseudo-terminal."""

from __future__ import annotations

import io
import os
import pty
import re
import subprocess
import sys
from pathlib import Path
from threading import RLock
from types import SimpleNamespace

from tiny_project import ROOT

from snakemake_logger_plugin_octathlon import view

sys.path.insert(0, str(ROOT / "tests/unit"))
from training_logs import line, log_lines

SNAKEFILE = """
rule all:
    input: expand("{benchmark}_{n}.txt", benchmark=["bert", "resnet"], n=range(3)), "bad", "gone"
rule train:
    output: "{benchmark}_{n}.txt"
    log: "logs/{benchmark}_{n}.log"
    shell: "cp {wildcards.benchmark}.mllog {output} 2> {log}"
rule broken:
    output: "bad"
    log: "logs/broken.log"
    shell: "(echo one; echo octathlon: day_0.gz: cut short, fetch it again; exit 1) > {log}"
rule killed:
    output: "gone"
    log: "logs/killed.log"
    shell: "echo ':::MLLOG {{}}' > {log}; kill -9 $$"
"""
CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|[\r\n]|[^\x1b\r\n]+")


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
    return written, kept_lines(written)


def kept_lines(written: str) -> list[str]:
    """What stands on the terminal in the end: live lines are wiped, from the last to the first, and written anew."""
    lines, row = [""], 0
    for part in CONTROL.findall(written):
        if part == "\n":
            row += 1
            lines += [""] * (row == len(lines))
        elif part == "\x1b[1A":
            row -= 1
        elif part == "\x1b[2K":
            lines[row] = ""
        elif part[0] not in "\r\x1b":
            lines[row] += part
    return lines


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
    assert "9 jobs: 1 broken, 1 killed, 6 train, 1 all" in plan

    written, kept = snakemake(tmp_path)
    text = "\n".join(kept)
    assert re.findall(r"^train .*", text, re.MULTILINE) == re.findall(r"train +6 of 6  0:\d\d", text)
    assert "  resnet, accuracy ≥ 0.759: 0.7634  0.7634  0.7634" in text
    assert "  bert, mlm_accuracy ≥ 0.72: 0.61 (aborted)  0.61 (aborted)  0.61 (aborted)" in text
    assert re.search(r"^6 of 9 jobs in 0:\d\d$", text, re.MULTILINE)
    assert re.search(r"about \d:\d\d left", written)
    told = "broken failed: bad\n  octathlon: day_0.gz: cut short, fetch it again\n  log: logs/broken.log"
    gone = (
        "killed failed: gone\n  It left no word: it was ended from outside, by hand or as memory ran out.\n"
    )
    assert told in text and gone + "  log: logs/killed.log" in text
    assert "cp resnet.mllog" not in written and len(kept) < 25
    scheduler_log = next(tmp_path.glob(".snakemake/log/*.log"))
    assert "cp resnet.mllog" in scheduler_log.read_text()


def test_without_a_terminal_the_log_is_snakemakes_own(tmp_path):
    (tmp_path / "Snakefile").write_text('rule one:\n    output: "one"\n    shell: "touch {output}"\n')
    command = [sys.executable, "-m", "snakemake", "--cores", "1", "--logger", "octathlon"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "rule one:\n    output: one" in done.stderr and "\x1b" not in done.stderr


def test_no_line_is_lost_to_a_redraw(monkeypatch):
    """Threads take turns so often, and the display is drawn so often, that each line meets redraws."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(view, "REFRESH_S", 0.0005)
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    lock, stream, names = RLock(), io.StringIO(), [f"rule_{number}" for number in range(100)]
    stream.isatty = lambda: True
    shown = view.View(stream, lock)
    with lock:
        shown.planned(dict.fromkeys(names, 1))
    for number, name in enumerate(names):
        job = SimpleNamespace(jobid=number, rule_name=name, wildcards={}, output=["out"], log=["log"])
        with lock:
            shown.started(job)
        with lock:
            shown.finished(number)
    with lock:
        shown.close()
    sys.setswitchinterval(before)
    kept = kept_lines(stream.getvalue())
    assert [line.split()[0] for line in kept if line.startswith("rule_")] == names
