"""What the docs show is what the code says now."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest
import yaml

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


@pytest.mark.parametrize(
    "page", sorted(ROOT.glob("*.md")) + sorted(ROOT.glob("docs/*.md")), ids=lambda path: path.name
)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\((?!http)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), target


def test_conda_environment_has_the_pins_of_the_lock():
    lock = (ROOT / "envs/requirements.lock").read_text().splitlines()
    pins = [line for line in lock if not line.startswith("#")]
    conda = yaml.safe_load((ROOT / "envs/octathlon.yaml").read_text())
    assert conda["dependencies"][-1] == {"pip": pins}
    wanted = [line for line in (ROOT / "envs/requirements.in").read_text().splitlines() if "==" in line]
    assert len(wanted) > 20
    assert {pin.lower() for pin in wanted} <= {pin.lower() for pin in pins}
