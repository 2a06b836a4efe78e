"""Dumps: every page once however they are shared out, and nothing that a hostile or damaged one can do."""

from __future__ import annotations

import bz2
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from wikipedia_archives import CLOSING, OPENING, page, write_dump

from octathlon.datasets.wikipedia import dump
from octathlon.datasets.wikipedia.dump import Page, pages
from octathlon.errors import OctathlonError

PAGES = [page(number, f"text {number} &amp; more") for number in range(1, 31)]
NUMBERS = list(range(1, 31))


def numbers(path: Path, parts: int = 1) -> list[int]:
    return [found.number for part in range(parts) for found in pages(path, part, parts)]


@pytest.fixture
def multistream(tmp_path: Path) -> Path:
    """Four pages a stream, as upstream has a hundred."""
    groups = [b"".join(PAGES[start : start + 4]) for start in range(0, 30, 4)]
    return write_dump(tmp_path / "dump.bz2", OPENING, *groups, CLOSING)


def test_a_page_is_read_as_it_stands(tmp_path: Path) -> None:
    text = "&lt;ref name=&quot;x&quot;&gt;Žižek&lt;/ref&gt;\n  [[A&amp;B]]"
    path = write_dump(
        tmp_path / "d.bz2",
        OPENING + page(12, text, "Q&amp;A") + page(13, "", "T", 10) + page(14, "#R", redirect=True) + CLOSING,
    )
    assert list(pages(path, 0, 1)) == [
        Page(12, "Q&A", 0, False, '<ref name="x">Žižek</ref>\n  [[A&B]]'),
        Page(13, "T", 10, False, ""),
        Page(14, "A", 0, True, "#R"),
    ]


@pytest.mark.parametrize("parts", [1, 2, 3, 7, 40])
def test_every_page_is_in_exactly_one_share(multistream: Path, parts: int) -> None:
    assert numbers(multistream, parts) == NUMBERS


def test_shares_are_alike(multistream: Path) -> None:
    assert [len(list(pages(multistream, part, 2))) for part in range(2)] == [16, 14]


def test_one_stream_is_one_share(tmp_path: Path) -> None:
    path = write_dump(tmp_path / "dump.bz2", OPENING + b"".join(PAGES) + CLOSING)
    assert numbers(path, 3) == NUMBERS


@settings(max_examples=40, deadline=None)
@given(cuts=st.lists(st.integers(0, 9000), max_size=12), parts=st.integers(1, 5))
@example(cuts=[len(OPENING + b"".join(PAGES) + CLOSING) - 5], parts=2)
@example(cuts=[len(OPENING + b"".join(PAGES) + CLOSING) - 1], parts=2)
def test_streams_may_end_anywhere(
    tmp_path_factory: pytest.TempPathFactory, cuts: list[int], parts: int
) -> None:
    """As in files that were packed in parallel: within a page, within a tag (even the last one), even empty."""
    content = OPENING + b"".join(PAGES) + CLOSING
    bounds = [0, *sorted(cuts), len(content)]
    streams = [content[a:b] for a, b in zip(bounds, bounds[1:], strict=False) if a < b]
    path = write_dump(tmp_path_factory.mktemp("cut") / "dump.bz2", *streams)
    assert numbers(path, parts) == NUMBERS


def test_memory_does_not_grow_with_the_dump(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dump, "CHUNK", 1 << 16)

    def peak(streams: int) -> int:
        group = b"".join(page(number, f"{number} " * 500) for number in range(25))
        path = write_dump(tmp_path / f"{streams}.bz2", OPENING, *[group] * streams, CLOSING)
        tracemalloc.start()
        assert sum(1 for _ in pages(path, 0, 1)) == 25 * streams
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    assert peak(40) < 1.2 * peak(10)


# Hostile and damaged ---------------------------------------------------------------------------------


def refused(path: Path, match: str) -> None:
    with pytest.raises(OctathlonError, match=match) as error:
        numbers(path)
    assert path.name in str(error.value)


@pytest.mark.parametrize("share", [0.3, 0.9, 0.999])
def test_a_truncated_dump_is_refused(multistream: Path, share: float) -> None:
    content = multistream.read_bytes()
    multistream.write_bytes(content[: int(len(content) * share)])
    refused(multistream, "truncated|ends before </mediawiki>|damaged")


def test_a_dump_without_its_end_is_refused(tmp_path: Path) -> None:
    refused(write_dump(tmp_path / "dump.bz2", OPENING, *PAGES), "ends before </mediawiki>")
    refused(write_dump(tmp_path / "dump.bz2", OPENING, PAGES[0][:-20], CLOSING), "ends before </mediawiki>")


def test_damaged_bytes_are_refused(multistream: Path) -> None:
    content = bytearray(multistream.read_bytes())
    content[len(content) // 2] ^= 0xFF
    multistream.write_bytes(content)
    refused(multistream, "damaged")


@pytest.mark.parametrize("content", [b"", b"<mediawiki>", b"PK\3\4" * 100])
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "dump.bz2"
    path.write_bytes(content)
    refused(path, "empty|not a bz2 file")


LAUGHS = "".join(f'<!ENTITY a{i + 1} "{f"&a{i};" * 10}">' for i in range(9))


def test_entities_are_never_expanded(tmp_path: Path) -> None:
    """A billion laughs, and a file of this machine, as entities that the dump declares."""
    secret = tmp_path / "secret"
    secret.write_text("secret")
    for entity, name in ((f'<!ENTITY a0 "ha">{LAUGHS}', "a9"), (f'<!ENTITY x SYSTEM "{secret}">', "x")):
        opening = f"<!DOCTYPE mediawiki [{entity}]>".encode() + OPENING
        path = write_dump(tmp_path / "dump.bz2", opening + page(1, f"&{name};") + CLOSING)
        refused(path, "undefined entity")
    inside = b"<page><!DOCTYPE x [<!ENTITY a 'b'>]><title>&a;</title></page>"
    refused(write_dump(tmp_path / "dump.bz2", OPENING + inside + CLOSING), "a page cannot be read")


@pytest.mark.parametrize(
    "bad",
    [
        b"<page></page>",
        page(1, "<b>"),
        b"<page><id>x</id><title/><ns>0</ns></page>",
        page(1, "").replace(b"<id>1</id>", b"<id/>"),
    ],
)
def test_a_page_that_is_none_is_refused(tmp_path: Path, bad: bytes) -> None:
    refused(write_dump(tmp_path / "dump.bz2", OPENING + bad + CLOSING), "a page cannot be read")


@pytest.mark.parametrize("begin", [b"", b"<page>"])
def test_a_bomb_stops_at_the_limit(begin: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dump, "RATIO_FLOOR", 4 << 20)
    bomb = bz2.compress(OPENING + begin + bytes(24 << 20))
    path = tmp_path / "dump.bz2"
    path.write_bytes(bomb)
    tracemalloc.start()
    refused(path, "unpacks to more than 100 times its size")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(bomb) < 1000
    assert peak < 16 << 20


PAGE = page(1, "text")


@pytest.mark.parametrize(
    ("bad", "match"),
    [
        (page(1, "x" * (5 << 20)), "text of more than 3,145,728 bytes"),
        (page(1, "x" * (21 << 20)), "a page of more than 20,971,520 bytes"),
        (PAGE.replace(b"<title>", b"<a>" * 2000 + b"<title>"), "more tags, or longer ones"),
        (PAGE.replace(b"<text", b"<text" + b" a=''" * 2000), "more tags, or longer ones"),
        (PAGE.replace(b"<text", b"<text a='" + b"x" * 5000 + b"'"), "more tags, or longer ones"),
        (b"<page>" * 10**5 + PAGE, "more tags, or longer ones"),
        (b"<page>" * 10**5, "ends before </mediawiki>"),
        (PAGE * 10_002, "more pages than its bytes can hold"),
    ],
)
def test_what_no_page_holds_is_refused(
    bad: bytes, match: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of them would need a long time, or memory in proportion to its tags."""
    monkeypatch.setattr(dump, "RATIO_LIMIT", 10**6)
    refused(write_dump(tmp_path / "dump.bz2", OPENING, bad, CLOSING), match)


def test_many_small_streams_come_in_large_pieces(tmp_path: Path) -> None:
    """Else each of them would copy the unfinished page before it."""
    path = tmp_path / "dump.bz2"
    path.write_bytes(bz2.compress(bytes(3 << 20)) + bz2.compress(b"x") * 5_000)
    sizes = [len(piece) for piece in dump._decompressed(path, 0, path.stat().st_size)]
    assert sizes == [1 << 20] * 3 + [5_000]
