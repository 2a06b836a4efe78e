"""Keys that stand twice in a configuration file."""

from pathlib import Path

import pytest

from octathlon.errors import OctathlonError
from octathlon.overlays import check_keys

ROOT = Path(__file__).parents[2]


@pytest.fixture
def written(tmp_path):
    def write(text, name="over.yaml"):
        (tmp_path / name).write_text(text)
        return tmp_path / name

    return write


def test_the_shipped_files_have_no_key_twice():
    check_keys([ROOT / "config.yaml", *ROOT.glob("tests/**/*.yaml"), *ROOT.glob("src/**/*.yaml")])


def test_every_key_that_stands_twice_is_named(written):
    first = written(
        "seed: 1\noverrides:\n  dlrm: {}\n  bert: {}\n  dlrm: {}\nseed: 2\nsystems: {a: {}, a: {}}\n"
    )
    second = written('{"runs": 3,\n "runs": 4}', "over.json")
    with pytest.raises(OctathlonError) as raised:
        check_keys([first, second])
    assert str(raised.value).splitlines()[1:] == [
        f"  {first}, lines 1 and 6: seed",
        f"  {first}, lines 7 and 7: a",
        f"  {first}, lines 3 and 5: dlrm",
        f"  {second}, lines 1 and 2: runs",
    ]


@pytest.mark.parametrize(
    "text",
    [
        "a: {x: 1}\nb: {x: 1}\n",
        "a: &a {x: 1}\nb: {<<: *a, x: 2}\n",
        "a: &a {b: *a}\n",
        "1: a\n'1': b\n",
        "",
        "a: [",
        "- a\n- a\n",
        "[" * 2000,
        "? [a]\n: 1\n",
    ],
)
def test_nothing_else_is_complained_about(written, text):
    check_keys([written(text), written("", "empty.yaml"), Path("missing.yaml")])
