"""Outputs appear whole or not at all; equal values give equal bytes."""

from __future__ import annotations

import json
import os
import platform
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from octathlon.errors import OctathlonError
from octathlon.receipts import describe, file_digest, publish, read_json, write_json

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_file_appears_when_the_block_ends(tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "a"
    with publish(path) as temporary:
        temporary.write_bytes(b"half")
        assert not path.exists() and temporary.parent == path.parent
    assert path.read_bytes() == b"half" and names(path.parent) == ["a"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_an_exception_leaves_the_earlier_file(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"earlier")
    with pytest.raises(error), publish(path) as temporary:
        temporary.write_bytes(b"half")
        raise error
    assert path.read_bytes() == b"earlier" and names(tmp_path) == ["a"]


def test_a_full_disk_leaves_the_earlier_file_and_says_so(tmp_path: Path) -> None:
    """A limit on file sizes stands for the disk: the 101st kilobyte can't be written."""
    path = tmp_path / "a"
    path.write_bytes(b"earlier")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(OctathlonError, match=r"a: cannot write it \(File too large\); make room"):
            write_json(path, {"much": "x" * 200_000})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert path.read_bytes() == b"earlier" and names(tmp_path) == ["a"]


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OctathlonError, match=r"file/a: cannot write it \((Not a directory|File exists)\)"):
        write_json(tmp_path / "file" / "a", {})


WRITER = """
import sys, time
from pathlib import Path
from octathlon.receipts import publish
with publish(Path(sys.argv[1])) as temporary:
    temporary.write_bytes(b"by a process")
    print(temporary.name, flush=True)
    time.sleep(600)
"""


def start_writer(path: Path) -> tuple[subprocess.Popen, str]:
    process = subprocess.Popen([sys.executable, "-c", WRITER, path], stdout=subprocess.PIPE, text=True)
    return process, process.stdout.readline().strip()


def test_leftovers_of_killed_writers_go_and_those_of_live_ones_stay(tmp_path: Path) -> None:
    path = tmp_path / "a"
    killed, leftover = start_writer(path)
    killed.kill()
    os.waitid(os.P_PID, killed.pid, os.WEXITED | os.WNOWAIT)  # dead, but its number is not free yet
    assert names(tmp_path) == [leftover]
    alive, working = start_writer(path)
    try:
        assert names(tmp_path) == [working]  # the second writer removed what the first one left
        write_json(path, {})
        assert names(tmp_path) == [working, "a"]
        os.utime(tmp_path / working, (0, 0))  # so it was written by an earlier namesake
        write_json(path, {})
        assert names(tmp_path) == ["a"]
    finally:
        for process in (killed, alive):
            process.kill()
            process.wait()


def test_files_of_others_are_not_leftovers(tmp_path: Path) -> None:
    dead = subprocess.Popen(["true"])
    dead.wait()
    host, pid = platform.node(), dead.pid
    others = [f".a.elsewhere.{pid}.tmp", f".b.{host}.{pid}.tmp", f".a.b.{host}.{pid}.tmp", f".a.{host}.x.tmp"]
    others += [f".a.{host}.{pid}.tmp2", f"a.{host}.{pid}.tmp", f".a.{host}.0.tmp", f".a.{host}.-1.tmp"]
    for name in [*others, f".a.{host}.{pid}.tmp", f".a.{host}.{os.getpid()}.tmp"]:
        (tmp_path / name).write_bytes(b"")
    write_json(tmp_path / "a", {})
    assert names(tmp_path) == sorted(["a", *others])


def test_a_link_can_be_published(tmp_path: Path) -> None:
    (tmp_path / "target").write_bytes(b"x")
    with publish(tmp_path / "a") as temporary:
        temporary.symlink_to(tmp_path / "target")
    assert (tmp_path / "a").is_symlink() and (tmp_path / "a").read_bytes() == b"x"


@given(value=st.dictionaries(st.text(), JSON))
def test_what_is_written_is_read_and_order_does_not_matter(tmp_path_factory, value: dict) -> None:
    folder = tmp_path_factory.mktemp("receipts")
    write_json(folder / "a", value)
    write_json(folder / "b", dict(reversed(value.items())))
    assert read_json(folder / "a") == value
    assert (folder / "a").read_bytes() == (folder / "b").read_bytes()


def test_receipts_hold_no_times(tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(b"abc")
    first = describe(tmp_path / "data")
    os.utime(tmp_path / "data", (time.time() - 1000,) * 2)
    sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert first == describe(tmp_path / "data") == {"bytes": 3, "sha256": sha256}
    assert file_digest(tmp_path / "data", "md5") == "900150983cd24fb0d6963f7d28e17f72"


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "not there; run the stage that writes it first"),
        (b"{", "not valid JSON"),
        (b"\xff\xfe", "not valid JSON"),
        (b"[" * 100_000, "not valid JSON"),
        (b"[]", "not a JSON object"),
        (json.dumps("text").encode(), "not a JSON object"),
    ],
    ids=["missing", "cut", "binary", "deep", "list", "text"],
)
def test_a_bad_receipt_is_named(tmp_path: Path, content: bytes | None, sentence: str) -> None:
    if content is not None:
        (tmp_path / "r.json").write_bytes(content)
    with pytest.raises(OctathlonError, match=f"r.json: {sentence}"):
        read_json(tmp_path / "r.json")


def test_a_folder_is_no_receipt(tmp_path: Path) -> None:
    with pytest.raises(OctathlonError, match="cannot read it"):
        read_json(tmp_path)
