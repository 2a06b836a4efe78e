"""What the docs show is what the code says now."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def generate():
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs/generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_generated_tables_are_current(generate):
    for name, parts in generate.GENERATED.items():
        text = (ROOT / name).read_text()
        for part, make in parts.items():
            assert generate.replaced(text, part, make()) == text, f"{name}: run docs/generate.py"


def test_replaced_text_stays_between_its_marks(generate):
    text = "a\n<!-- x: begin -->\nold\n<!-- x: end -->\nb\n"
    assert generate.replaced(text, "x", "new\n") == "a\n<!-- x: begin -->\n\nnew\n\n<!-- x: end -->\nb\n"


def test_the_layout_names_every_package():
    layout = (ROOT / "docs/README.md").read_text().partition("## Layout")[2]
    named = set(re.findall(r"(\w+)/(?:<name>/)?`", layout)) | set(
        re.findall(r"`src/octathlon/(\w+)/", layout)
    )
    packages = {path.parent.name for path in ROOT.glob("src/**/__init__.py")}
    inner = {path.name for path in ROOT.glob("src/octathlon/*/*/")}
    assert packages - inner - named == {"octathlon"}


@pytest.mark.parametrize(
    "page", sorted(ROOT.glob("*.md")) + sorted(ROOT.glob("docs/*.md")), ids=lambda path: path.name
)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\((?!http)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), target


def test_the_readme_is_short_and_the_index_has_every_page():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150
    index = (ROOT / "docs/README.md").read_text()
    missing = [page.name for page in ROOT.glob("docs/*.md") if f"({page.name})" not in index]
    assert missing == ["README.md"]


def test_the_list_of_errors_has_their_words(generate, tmp_path):
    module = tmp_path / "module.py"
    module.write_text(
        'OctathlonError(f"{path}: {size >> 20} MiB, more than {self.most_mib}; make room")\n'
        'OctathlonError(f"{path}: {reason}")\nOctathlonError(message)\n'
        'FormatError("no archive of *.tar is there; " f"fetch {its_name} again")\n'
    )
    assert list(generate._sentences(module)) == [
        "⟨path⟩: ⟨…⟩ MiB, more than ⟨most mib⟩; make room",
        "no archive of \\*.tar is there; fetch ⟨its name⟩ again",
    ]
    assert (
        "`octathlon score --json`" in generate.errors()
        and "use the archive as it is published" in generate.errors()
    )
