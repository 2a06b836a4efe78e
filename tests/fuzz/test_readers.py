"""Readers of texts from elsewhere: logs, descriptions, configurations, dumps, click logs, lists of checksums."""

from __future__ import annotations

import bz2
import gzip
import json
import sys
from html import escape
from pathlib import Path

import pytest
import yaml
from mutations import fuzz

from octathlon import config, registry
from octathlon.archives.sums import parse as parse_sums
from octathlon.datasets.click_logs.text import read_day
from octathlon.datasets.wikipedia.dump import pages
from octathlon.datasets.wikipedia.tokens import read_vocabulary
from octathlon.datasets.wikipedia.wikitext import article
from octathlon.options import MAPPING
from octathlon.overlays import check_keys
from octathlon.receipts import read_json
from octathlon.scoring.check import check_path
from octathlon.scoring.entries import score_paths

sys.path.insert(0, str(Path(__file__).parents[1] / "golden"))
from closed_logs import closed_log, write_log

WIKITEXT = """'''Bold''' and ''italic'' [[Link|text]]{{Template|a={{b}}}} <ref name="x">note</ref> <!-- no -->
== Heading ==
* [http://example.org place] &amp; &#8211; <math>x^2</math>
{| class="wikitable"
! a || b
|-
| 1 || 2
|}
[[File:A.jpg|thumb|A [[caption]]]] <nowiki>''raw''</nowiki>
"""

OPEN = [
    "<!--",
    "<ref>",
    "<b>",
    "<math>",
    "[http://a ",
    "{{a|",
    "[[a|",
    "{|",
    "''",
    "=",
    "&#",
    "<",
    "<nowiki>",
]
"""Markup that nothing closes, for which rules must not look again and again."""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "result_0.txt"


def test_logs(file):
    write_log(file, closed_log("resnet", 1, "success"))

    def read(content: bytes) -> None:
        file.write_bytes(content)
        score_paths([file], None, {})
        check_path(file, {}, "v1.1")

    fuzz(read, [file.read_bytes()])


def test_descriptions(tmp_path):
    path = tmp_path / "Us/systems/box.json"
    path.parent.mkdir(parents=True)

    def read(content: bytes) -> None:
        path.write_bytes(content)
        check_path(path, {}, "v1.1")

    fuzz(read, [json.dumps({"submitter": "Us", "division": "closed", "number_of_nodes": 1}).encode()])


def test_receipts(file):
    def read(content: bytes) -> None:
        file.write_bytes(content)
        read_json(file)

    fuzz(read, [b'{"format": 1, "files": {"a": {"bytes": 1, "sha256": "00"}}}'])


def test_configurations(file):
    def read(content: bytes) -> None:
        file.write_bytes(content)
        check_keys([file])
        try:
            raw = yaml.safe_load(content)
        except (yaml.YAMLError, ValueError, RecursionError):
            return  # Snakemake says it
        config.load(raw)

    shipped = Path(__file__).parents[2] / "config.yaml"
    fuzz(
        read,
        [
            shipped.read_bytes(),
            b"overrides: {resnet: {cadence: {every: 2}}}\ndatasets: {coco: {source: a}}\n",
        ],
    )


def test_settings_of_the_command_line():
    def read(content: bytes) -> None:
        try:
            overrides = MAPPING.convert(content.decode(errors="surrogateescape"), None, None)
        except Exception as error:
            assert type(error).__name__ == "BadParameter", error
            return
        config.resolve("benchmarks", "resnet", "mini", overrides)

    fuzz(read, [json.dumps(registry.defaults("benchmarks", "resnet", "mini")).encode()])


def test_lists_of_checksums():
    def read(content: bytes) -> None:
        found = parse_sums("MD5SUMS", content)
        found.checksum("day_0.gz")
        found.remark(["day_0.gz"])

    fuzz(
        read, [b"d41d8cd98f00b204e9800998ecf8427e  ./day_0.gz\nMD5 (b) = d41d8cd98f00b204e9800998ecf8427e\n"]
    )


def test_click_logs(file):
    def read(content: bytes) -> None:
        file.write_bytes(gzip.compress(content, 1))
        list(read_day(file, 100))

    row = "\t".join(["1", *["12"] * 13, *["0a1b2c3d"] * 26])
    fuzz(read, [f"{row}\n{row}\n".encode()], [b"\t" * (1 << 20), b"0" * (1 << 20), b"\n" * (1 << 20)])


def test_dumps(file):
    def read(content: bytes) -> None:
        file.write_bytes(bz2.compress(content, 1))
        for page in pages(file, 0, 1):
            article(page.number, page.title, page.text)

    page = f"<page><title>T</title><ns>0</ns><id>1</id><revision><text>{escape(WIKITEXT)}</text></revision></page>"
    begun = b'<mediawiki version="0.10">'
    deep = [begun + each * 20_000 for each in (b"<page>", b"<page/>", b"<id/>", b"<page><text>", b"&a;")]
    fuzz(read, [begun + f"<siteinfo/>{page}</mediawiki>".encode()], deep)


def test_wikitext():
    read = lambda content: article(1, "T", content.decode(errors="replace"))  # noqa: E731
    fuzz(read, [WIKITEXT.encode()], [each.encode() * 10_000 for each in OPEN])


def test_vocabularies(file):
    def read(content: bytes) -> None:
        file.write_bytes(content)
        read_vocabulary(file)

    fuzz(read, [b"[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nthe\n##s\n"])
