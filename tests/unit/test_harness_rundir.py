"""A log has one owner, and appears whole or not at all."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from octathlon.errors import OctathlonError
from octathlon.harness.rundir import owned_log
from octathlon.harness.session import _terminable

HOLDER = """
import sys, signal
from pathlib import Path
from octathlon.harness.rundir import owned_log
with owned_log(Path(sys.argv[1])) as log:
    log.write("half")
    log.flush()
    print("mine", flush=True)
    signal.pause()
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that is writing the log, and its path."""
    path = tmp_path / "result_0.txt"
    process = subprocess.Popen([sys.executable, "-c", HOLDER, path], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "mine\n"
    yield process, path
    process.kill()
    process.wait()
    process.stdout.close()


def test_log_appears_at_the_end(tmp_path):
    path = tmp_path / "deep" / "result_0.txt"
    with owned_log(path) as log:
        log.write("event\n")
        log.flush()
        assert not path.exists()
    assert path.read_text() == "event\n"
    assert [entry.name for entry in path.parent.iterdir()] == ["result_0.txt"]


def test_crash_leaves_nothing_and_keeps_an_earlier_log(tmp_path):
    path = tmp_path / "result_0.txt"
    path.write_text("earlier\n")
    with pytest.raises(ZeroDivisionError), owned_log(path) as log:
        log.write("event\n")
        raise ZeroDivisionError
    assert path.read_text() == "earlier\n"
    assert list(tmp_path.iterdir()) == [path]


def test_second_writer_is_refused_and_told_who_the_owner_is(holder):
    process, path = holder
    with (
        pytest.raises(OctathlonError, match=rf"result_0.txt: process {process.pid} on \S+ is writing it"),
        owned_log(path),
    ):
        pytest.fail("two writers")
    with pytest.raises(OctathlonError), owned_log(path):  # the refusal has not taken the lock away
        pytest.fail("two writers")


def test_killed_owner_blocks_nobody(holder):
    process, path = holder
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not path.exists()
    with owned_log(path) as log:
        log.write("whole")
    assert path.read_text() == "whole"


def test_full_disk_is_one_sentence(tmp_path):
    code = """
import resource, signal, sys
from pathlib import Path
from octathlon.harness.clock import wall_clock
from octathlon.harness.events import Events
from octathlon.harness.rundir import owned_log
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    with owned_log(Path(sys.argv[1])) as log:
        events = Events([log], wall_clock())
        for _ in range(100):
            events.point("seed", 1)
except Exception as error:
    print(type(error).__name__, error)
"""
    path = tmp_path / "result_0.txt"
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"OctathlonError {path}: cannot write it (File too large); make room")
    assert list(tmp_path.iterdir()) == []


def test_folder_that_cannot_be_made_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(OctathlonError, match="file/result_0.txt: cannot write it"),
        owned_log(tmp_path / "file" / "result_0.txt"),
    ):
        pytest.fail("no folder to write in")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_run_that_is_told_to_end_says_so_once_for_all_ranks(capfd, number):
    codes = []
    for log in (Path("results/result_0.txt"), None):  # the first rank's, another one's
        with _terminable(log, codes.append):
            signal.raise_signal(number)
    assert codes == [128 + number] * 2
    assert capfd.readouterr().err.count(f"results/result_0.txt: told to end by {number.name}: ") == 1
