"""The descriptions of systems on the page."""

import json

from report_pages import Page, scores_of
from training_logs import write_folder

from octathlon.report.systems import read_systems
from octathlon.scoring import rule_data

FIELDS = rule_data.load("system_description_v1.1")["required"]


def write(folder, **fields):
    folder.mkdir(exist_ok=True)
    (folder / "box.json").write_text(json.dumps(fields))
    return folder


def test_every_field_is_either_shown_in_its_group_or_folded_away(tmp_path):
    values = {field: f"value {number}" for number, field in enumerate(FIELDS)}
    values |= {"host_networking": "N/A", "cooling": "", "accelerator_frequency": None}
    (system,) = read_systems(write(tmp_path / "systems", **values), ["box"])
    shown = {value: (group, label) for group, fields in system.groups.items() for label, value in fields}
    assert len(shown) == len(FIELDS) - 3 == 30
    assert sorted(system.silent) == ["accelerator frequency", "cooling", "host networking"]
    place = {field: shown.get(values[field]) for field in FIELDS}
    assert place["host_memory_capacity"] == ("Host", "memory capacity")
    assert place["accelerators_per_node"] == ("Accelerators", "per node")
    assert place["accelerator_on-chip_memories"] == ("Accelerators", "on-chip memories")
    assert place["framework"] == ("Software", "framework")
    assert place["number_of_nodes"] == ("Submission", "number of nodes")


def test_the_page_shows_them(tmp_path):
    write_folder(tmp_path / "tree/Us/results/box/resnet", [30, 29, 31, 28, 27])
    stack = {"python": "3.11", "<b>": ["x", {"y": None}]}
    systems = write(tmp_path / "systems", framework="<i>PyTorch", other_software_stack=stack)
    page = Page(tmp_path, scores_of(tmp_path / "tree"), systems)
    words = page.words(page.section("systems"))
    assert "framework<i>PyTorch" in words.replace(" ", "")
    assert "python 3.11, <b>" in words
    assert f"{len(FIELDS) - 2} fields without a value" in words


def test_a_description_that_cannot_be_read_says_so(tmp_path):
    folder = write(tmp_path / "systems")
    (tmp_path / "secret.json").write_text('{"submitter": "secret"}')
    (folder / "list.json").write_text("[1]")
    (folder / "text.json").write_text("{")
    (folder / "bytes.json").write_bytes(b"\xff\xfe{}\x00")
    (folder / "deep.json").write_text("[" * 100_000)
    (folder / "folder.json").mkdir()
    names = ["../secret", "gone", "folder", "list", "text", "bytes", "deep", "bad\0name"]
    problems = {system.name: system.problem for system in read_systems(folder, names)}
    assert problems["../secret"] == problems["gone"] == problems["folder"] == "no description"
    assert problems["list"] == "the description is not a JSON object"
    assert problems["text"] == problems["deep"] == "the description cannot be read as JSON"
    assert all(problems.values())
