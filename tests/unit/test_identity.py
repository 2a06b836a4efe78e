"""The identity reruns a fetch exactly when the content of the archive is not the one that was fetched."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from octathlon.archives import identity as module
from octathlon.archives.fetch import fetch, write_receipt
from octathlon.archives.identity import identity, recall
from octathlon.archives.sources import Request, Source
from octathlon.receipts import write_json

ARCHIVE = Source(name="a.tar", login="a shop")


def put(file: Path, content: bytes, mtime_ns: int) -> None:
    """Write a file with a time stamp of our own: two writes within a tick of the clock would look alike."""
    file.write_bytes(content)
    os.utime(file, ns=(mtime_ns, mtime_ns))


class Workflow(RuleBasedStateMachine):
    """A user who edits, touches and deletes an archive, and a workflow that plans as Snakemake does.

    A job runs if its receipt is missing or its parameter is not the recorded one.
    """

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory()
        own = Path(self._folder.name) / "own"
        own.mkdir()
        archives = Path(self._folder.name) / "archives"
        self.request = Request(dataset="d", archive=ARCHIVE, source=str(own), folder=archives)
        self.file = own / "a.tar"
        self.recorded: str | None = None
        self.fetched: bytes | None = None

    def teardown(self) -> None:
        self._folder.cleanup()

    @rule(content=st.sampled_from([b"one", b"two", b"three"]), mtime=st.integers(1, 4))
    def write(self, content: bytes, mtime: int) -> None:
        self._put(content, mtime)

    def _put(self, content: bytes, mtime: int) -> None:
        seen = recall(self.request.receipt)
        if seen and (seen["bytes"], seen["mtime_ns"]) == (len(content), mtime) and content != self.fetched:
            mtime += 10  # another content under the size and time stamp last seen is out of reach
        put(self.file, content, mtime)

    @precondition(lambda self: self.file.exists())
    @rule(mtime=st.integers(1, 40))
    def touch(self, mtime: int) -> None:
        self._put(self.file.read_bytes(), mtime)

    @rule()
    def delete(self) -> None:
        self.file.unlink(missing_ok=True)

    @rule()
    def plan_only(self) -> None:
        identity(self.request.receipt, self.request.watched())

    @rule()
    def plan_and_run(self) -> None:
        planned = identity(self.request.receipt, self.request.watched())
        runs = planned != self.recorded or not self.request.receipt.exists()
        if not self.file.exists():
            assert not runs or self.fetched is None  # freeing the disk reruns nothing
            return
        content = self.file.read_bytes()
        assert runs == (content != self.fetched)
        if runs:
            fetch(self.request, planned)
            self.recorded, self.fetched = planned, content

    @invariant()
    def planning_twice_says_the_same(self) -> None:
        first = identity(self.request.receipt, self.request.watched())
        assert first == identity(self.request.receipt, self.request.watched())


Workflow.TestCase.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
TestWorkflow = Workflow.TestCase


def test_the_first_plan_already_gives_the_final_identity(tmp_path: Path) -> None:
    """Drawn or downloaded archives: there is nothing at first, and their appearance is no change."""
    drawn = Request(dataset="d", archive=ARCHIVE, source="miniature", folder=tmp_path)
    archive, receipt = drawn.path, drawn.receipt
    planned = identity(receipt, archive)
    archive.write_bytes(b"drawn")
    write_receipt(drawn, planned)
    assert identity(receipt, archive) == planned == ""
    archive.write_bytes(b"edited by hand")
    assert identity(receipt, archive) != planned


def test_what_an_earlier_version_saw_is_seen_anew(tmp_path: Path) -> None:
    archive, receipt = tmp_path / "a.tar", tmp_path / "a.tar.json"
    put(archive, b"content", 1)
    write_json(tmp_path / ".a.tar.seen", {"bytes": 7, "mtime_ns": 1, "sha256": "00", "identity": "7:1"})
    assert recall(receipt) is None
    assert identity(receipt, archive) == "7:1"


def test_an_unchanged_archive_is_not_read_while_planning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even a second time after a touch: 148 GB would take minutes."""
    drawn = Request(dataset="d", archive=ARCHIVE, source="miniature", folder=tmp_path)
    archive, receipt = drawn.path, drawn.receipt
    put(archive, b"content", 1)
    write_receipt(drawn, "")
    reads = []
    monkeypatch.setattr(
        module,
        "verified",
        lambda path, *known, original=module.verified: reads.append(path) or original(path, *known),
    )
    identity(receipt, archive)
    assert reads == []
    put(archive, b"content", 2)
    identity(receipt, archive)
    identity(receipt, archive)
    assert reads == [archive]
    put(archive, b"another size", 3)
    identity(receipt, archive)
    assert reads == [archive]
