"""Pages drawn from real scores of synthetic logs, and read back as XML, for the tests of the report."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from octathlon.report.page import write_page
from octathlon.scoring.entries import score_paths
from octathlon.scoring.tables import to_json


def scores_of(tree: Path, runs: Mapping[str, int] | None = None) -> dict[str, Any]:
    """The content of scores.json of a results tree."""
    return to_json(*score_paths([tree], runs=runs or {}))


class Page:
    """A page as its text and its elements; parsing fails where a tag or an escape is wrong."""

    def __init__(
        self, folder: Path, scores: dict[str, Any], systems: Path | None = None, scale: str | None = "mini"
    ):
        (folder / "scores.json").write_text(json.dumps(scores))
        self.file = folder / "report.html"
        write_page(folder / "scores.json", systems, self.file, scale)
        self.text = self.file.read_text()
        doctype, _, rest = self.text.partition("\n")
        assert doctype == "<!DOCTYPE html>"
        assert "<!" not in rest  # no entities that the parser could expand
        self.root = ElementTree.fromstring(rest)

    def find(self, tag: str, class_: str = "", within: Element | None = None) -> list[Element]:
        """The elements of a tag that have a class."""
        root = self.root if within is None else within
        return [each for each in root.iter(tag) if not class_ or class_ in each.get("class", "").split()]

    def section(self, name: str) -> Element:
        """A section by its id."""
        return next(each for each in self.root.iter("section") if each.get("id") == name)

    def words(self, element: Element | None = None) -> str:
        """The text of an element, or of the whole body."""
        element = self.root.find("body") if element is None else element
        return " ".join("".join(element.itertext()).split())

    def strips(self, section: str) -> list[Element]:
        """The figures of dots in a section."""
        return self.find("svg", "strip", self.section(section))

    def panels(self) -> list[Element]:
        """The figures of quality against time."""
        return self.find("svg", "panel")


def dots(figure: Element) -> Iterator[tuple[str, float, str]]:
    """Kind, place across in percent, and words of each dot of a figure."""
    for group in figure.iter("g"):
        title = group.find("title")
        for mark in group:
            kind = mark.get("class", "").removeprefix("mark ")
            if mark.get("class", "").startswith("mark ") and title is not None:
                yield kind, float((mark.get("cx") or mark.get("x")).rstrip("%")), title.text
