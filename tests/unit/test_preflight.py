"""What is missing is told for the whole run at once, before any job and without any network."""

from __future__ import annotations

import shutil
import socket
from pathlib import Path

import pytest

from octathlon.archives.fetch import fetch
from octathlon.archives.preflight import missing
from octathlon.archives.sources import Request, Source

URL = ("http://127.0.0.1:9/a.tar",)


def wanted(folder: Path, name: str, source: str = "upstream", **declaration) -> Request:
    archive = Source(name=name, **{"login": "https://example.org (account needed)", **declaration})
    return Request(dataset="toy", archive=archive, source=source, folder=folder / "toy" / "archives")


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("the preflight uses the network"))


def test_all_that_a_user_must_provide_is_told_at_once(tmp_path: Path) -> None:
    requests = [
        wanted(tmp_path, "a.tar", size=147_897_477_120),
        wanted(tmp_path, "b.tar", about=2_500_000),
        wanted(tmp_path, "c.tar"),
        wanted(tmp_path, "d.tar", source="/nowhere"),
        wanted(tmp_path, "e.tar", source="miniature"),
        wanted(tmp_path, "f.tar", source="https://example.org/mirror"),
        wanted(tmp_path, "g.tar", urls=URL),
    ]
    downloads = tmp_path / "toy" / "downloads"
    shop = "get it from https://example.org (account needed) and put it at"
    assert missing(requests) == [
        f"a.tar (147,897,477,120 bytes) is missing: {shop} {downloads}/a.tar",
        f"b.tar (2,500,000 bytes) is missing: {shop} {downloads}/b.tar",
        f"c.tar (size unknown) is missing: {shop} {downloads}/c.tar",
        "/nowhere/d.tar: not there; put it there, or name its folder in datasets.toy.source or .archive_sources",
    ]
    assert not (tmp_path / "toy").exists()


def test_what_is_there_or_was_fetched_from_the_same_source_is_not_missing(tmp_path: Path) -> None:
    walled = wanted(tmp_path, "a.tar")
    own = tmp_path / "toy" / "downloads" / "a.tar"
    own.parent.mkdir(parents=True)
    own.write_bytes(b"archive")
    assert missing([walled]) == []
    fetch(walled, "")
    own.unlink()
    assert missing([walled]) == []
    assert len(missing([wanted(tmp_path, "a.tar", source=str(tmp_path))])) == 1


def test_the_archives_of_a_run_share_a_disk(tmp_path: Path) -> None:
    """Each of two would fit, both do not; what is there already, whole or in part, needs no room."""
    free = shutil.disk_usage(tmp_path).free
    first = wanted(tmp_path, "a.tar", urls=URL, size=free * 2 // 3)
    second = wanted(tmp_path, "b.tar", urls=URL, about=free * 2 // 3)
    assert missing([first]) == missing([second]) == []
    (sentence,) = missing([first, second])
    need = 2 * (free * 2 // 3)
    assert sentence.startswith(f"{tmp_path}: the archives need {need:,} more bytes, but only ")
    first.folder.mkdir(parents=True)
    with (first.folder / "a.tar.part").open("wb") as part:
        part.truncate(free * 2 // 3)  # a hole: takes no room here
    assert missing([first, second]) == []
