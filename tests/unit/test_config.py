"""A configuration is right as a whole, or all that is wrong with it is said at once."""

from __future__ import annotations

import math
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from octathlon import names, registry
from octathlon.archives.sources import request
from octathlon.config import Config, Keys, load, merge, resolve
from octathlon.errors import OctathlonError
from octathlon.systems import System

ROOT = Path(__file__).parents[2]


def errors(raw: Any) -> list[str]:
    """The lines that `load` complains with, without the heading."""
    with pytest.raises(OctathlonError) as raised:
        load(raw)
    heading, *lines = str(raised.value).split("\n")
    count = "one error" if len(lines) == 1 else f"{len(lines)} errors"
    assert heading == f"the configuration has {count}:"
    return [line.removeprefix("  ") for line in lines]


# Good ones -------------------------------------------------------------------------------------------


def test_the_shipped_configuration_is_valid_and_says_the_defaults() -> None:
    shipped = yaml.safe_load((ROOT / "config.yaml").read_text())
    config = load(shipped)
    assert list(config.benchmarks) == registry.benchmarks()
    assert config.keys == load({}).keys
    assert set(shipped) == set(Keys.model_fields)
    assert set(shipped["systems"]["local"]) == set(System.model_fields)


@pytest.mark.parametrize("name", registry.benchmarks())
@pytest.mark.parametrize("scale", registry.SCALES)
def test_every_benchmark_is_valid_at_every_scale(name: str, scale: str) -> None:
    config = load({"scale": scale, "benchmarks": [name]})
    assert list(config.benchmarks) == [name]
    assert list(config.datasets) == [registry.dataset_of(name)] if registry.dataset_of(name) else []


def test_an_image_may_have_a_tag_and_a_digest() -> None:
    for image in ("docker://octathlon:latest", "docker://a.b:5000/c@sha256:0f", "/shared/octathlon.sif"):
        assert load({"container": image}).keys.container == image


def test_overrides_reach_into_maps_and_leave_the_rest() -> None:
    settings = load({"overrides": {"resnet": {"cadence": {"every": 2}, "width": 8}}}).benchmarks["resnet"]
    plain = load({}).benchmarks["resnet"]
    assert (settings.cadence.every, settings.width) == (2, 8)
    assert settings.cadence.limit == plain.cadence.limit and settings.blocks == plain.blocks


@pytest.mark.parametrize("path", sorted((ROOT / "tests/realdata").glob("*.yaml")), ids=lambda path: path.stem)
def test_the_overlays_of_real_data_are_valid_and_name_archives_that_can_be_had(path: Path) -> None:
    for dataset, settings in load(yaml.safe_load(path.read_text())).datasets.items():
        for name in registry.preparer(dataset).archives(settings):
            request(dataset, registry.sources(dataset), name, settings.source_of(name), Path("archives"))


def test_data_set_keys_override_too() -> None:
    config = load({"datasets": {"imagenet": {"source": "/data/imagenet", "train_shards": 7}}})
    assert (config.datasets["imagenet"].source, config.datasets["imagenet"].train_shards) == (
        "/data/imagenet",
        7,
    )


@pytest.mark.parametrize(
    ("runs", "expected"),
    [(None, 5), (3, 3), ({"resnet": 2}, 2), ({}, 5)],
    ids=["default", "all", "own", "none"],
)
def test_runs_are_the_benchmarks_own_or_the_configured_ones(runs: Any, expected: int) -> None:
    assert load({"runs": runs, "benchmarks": ["resnet"]}).runs("resnet") == expected


@pytest.mark.parametrize(
    ("text", "name", "folder"),
    [
        ("Universität Zürich", "Universität Zürich", "Universität_Zürich"),
        ("Universita\N{COMBINING DIAERESIS}t", "Universität", "Universität"),
        ("  AT&T\u00a0Labs,  Inc. ", "AT&T Labs, Inc.", "AT&T_Labs,_Inc."),
        ("भारतीय संस्थान", "भारतीय संस्थान", "भारतीय_संस्थान"),
        ("東京大学", "東京大学", "東京大学"),
        ("جامعة", "جامعة", "جامعة"),
        ("จุฬาฯ", "จุฬาฯ", "จุฬาฯ"),
        ("3D-Inc._+", "3D-Inc._+", "3D-Inc._+"),
    ],
)
def test_a_submitters_name_may_be_in_any_script(text: str, name: str, folder: str) -> None:
    assert load({"submitter": text, "benchmarks": ["dlrm"]}).keys.submitter == name
    assert names.folder(name) == folder


def test_the_home_folder_is_known_in_every_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ada")
    coco = {"source": "~/coco{1}", "archive_sources": {"R-50.pkl": "~/models", "val2017.zip": "https://a/~b"}}
    raw = {"data": "~/data", "results": "~", "benchmarks": ["ssd"], "datasets": {"coco": coco}}
    config = load(raw)
    assert (config.keys.data, config.keys.results) == ("/home/ada/data", "/home/ada")
    assert config.datasets["coco"].source_of("train2017.zip") == "/home/ada/coco{1}"
    assert config.datasets["coco"].source_of("R-50.pkl") == "/home/ada/models"
    assert config.datasets["coco"].source_of("val2017.zip") == "https://a/~b"
    assert load({"data": "./~", "benchmarks": ["dlrm"]}).keys.data == "./~"


def test_benchmarks_are_listed_once_and_all_by_default() -> None:
    assert list(load({"benchmarks": ["resnet", "resnet"]}).benchmarks) == ["resnet"]
    assert list(load({"benchmarks": "all"}).benchmarks) == registry.benchmarks()


@pytest.mark.parametrize(("division", "expected"), [("closed", "closed"), ("open", "open")])
def test_the_division_is_closed_if_every_benchmark_is(division: str, expected: str) -> None:
    raw = {"benchmarks": ["resnet"], "overrides": {"resnet": {"division": division}}}
    assert load(raw).division == expected


@pytest.mark.parametrize(
    ("keys", "command"),
    [
        ({}, []),
        (
            {"launcher": "torchrun", "processes_per_node": 2, "cores_per_node": 2},
            ["octathlon", "launch", "--ranks", "2"],
        ),
        (
            {"launcher": "srun", "nodes": 4, "processes_per_node": 8, "cores_per_node": 64},
            ["srun", "--kill-on-bad-exit", "--nodes", "4", "--ntasks", "32", "--ntasks-per-node", "8"],
        ),
    ],
)
def test_a_system_says_how_its_ranks_start(keys: dict[str, Any], command: list[str]) -> None:
    system = System(**keys)
    assert system.launch() == command and not list(system.problems())


# Bad ones --------------------------------------------------------------------------------------------


def test_all_errors_come_at_once_at_every_level() -> None:
    assert sorted(
        errors(
            {
                "scale": "tiny",
                "bencmarks": ["resnet"],
                "benchmarks": ["resnt"],
                "runs": {"resnet": 0, "resnett": 2},
                "seed": -1,
                "systems": {"a b": {}, "gpu": {"node": 2, "nodes": 0}},
                "datasets": {"imagnet": {}, "imagenet": {"sorce": "x", "miniature": {"train_per_clas": 9}}},
                "overrides": {"resnet": {"widht": 8, "target": {"acuracy": 0.5}, "cadence": {"evry": 2}}},
            }
        )
    ) == sorted(
        [
            "scale: Input should be 'mini' or 'full', not 'tiny'",
            "bencmarks: unknown key; did you mean benchmarks?",
            "benchmarks.resnt: unknown name; did you mean resnet?",
            "runs.resnet: Input should be greater than 0, not 0",
            "runs.resnett: unknown name; did you mean resnet?",
            "seed: Input should be greater than or equal to 0, not -1",
            "systems.a b: 'a b' has ' ' in it; use letters, digits and ._+-",
            "systems.gpu.node: unknown key; did you mean nodes?",
            "systems.gpu.nodes: Input should be greater than 0, not 0",
            "datasets.imagnet: unknown name; did you mean imagenet?",
            "datasets.imagenet.sorce: unknown key; did you mean source?",
            "datasets.imagenet.miniature.train_per_clas: unknown name; did you mean train_per_class?",
            "overrides.resnet.widht: unknown key; did you mean width?",
            "overrides.resnet.target.acuracy: unknown name; did you mean accuracy?",
            "overrides.resnet.cadence.evry: unknown key; did you mean every?",
        ]
    )


BAD = {
    "runs zero": ({"runs": 0}, "runs: Input should be greater than 0, not 0"),
    "runs negative": ({"runs": -3}, "runs: Input should be greater than 0, not -3"),
    "runs fraction": (
        {"runs": 1.5},
        "runs: Input should be a valid integer, got a number with a fractional part",
    ),
    "runs nan": ({"runs": math.nan}, "runs: Input should be a finite number, not nan"),
    "runs list": ({"runs": [5]}, "runs: Input should be a valid integer, not [5]"),
    "benchmarks text": ({"benchmarks": "resnet"}, "benchmarks: Input should be a valid list, not 'resnet'"),
    "systems none": ({"systems": None}, "systems: Input should be a valid dictionary, not None"),
    "systems empty": ({"systems": {}}, "systems: Value should have at least 1 item"),
    "system list": (
        {"systems": {"a": [1]}},
        "systems.a: Input should be a valid dictionary or instance of System",
    ),
    "overrides list": (
        {"overrides": ["resnet"]},
        "overrides: Input should be a valid dictionary, not ['resnet']",
    ),
    "override list": (
        {"overrides": {"resnet": [1]}},
        "overrides.resnet: Input should be a valid dictionary, not [1]",
    ),
    "cadence none": (
        {"overrides": {"resnet": {"cadence": None}}},
        "overrides.resnet.cadence: Input should be a valid dictionary or instance of CadenceSettings, not None",
    ),
    "target nan": (
        {"overrides": {"resnet": {"target": {"accuracy": math.nan}}}},
        "overrides.resnet.target.accuracy: Input should be a finite number, not nan",
    ),
    "limit infinite": (
        {"overrides": {"resnet": {"cadence": {"limit": math.inf}}}},
        "overrides.resnet.cadence.limit: Input should be a finite number, not inf",
    ),
    "element": (
        {"overrides": {"resnet": {"blocks": [1, 0, 1, 1]}}},
        "overrides.resnet.blocks.1: Input should be greater than 0, not 0",
    ),
    "crop": (
        {"overrides": {"resnet": {"image_size": 200}}},
        "overrides.resnet: eval_short_side 46 must exceed image_size 200",
    ),
    "submitter": ({"submitter": "../../etc"}, "submitter: '../../etc' must begin with a letter or a digit"),
    "submitter long": (
        {"submitter": "ü" * 101},
        "submitter: 'üüüüüüüüüüüüüüüüüüüü'... has 202 bytes; use at most 200",
    ),
    "submitter year": ({"submitter": 2021}, "submitter: Input should be a valid string, not 2021"),
    "data with a wildcard": ({"data": "a{b}"}, "data: 'a{b}' has braces in it, which Snakemake takes for"),
    "results with a brace": ({"results": "a}"}, "results: 'a}' has braces in it, which Snakemake takes for"),
    "results nowhere": ({"results": "."}, "results: '.' has no name of its own; choose a folder"),
    "results above": ({"results": "a/.."}, "results: 'a/..' has no name of its own; choose a folder"),
    "results option": ({"results": "./-x"}, "results: './-x' looks like a URL or an option; choose a folder"),
    "results in a file": (
        {"results": "/dev/null/x"},
        "results: '/dev/null/x' can't be a folder: /dev/null is no folder",
    ),
    "data of a long name": ({"data": "ü" * 200}, "data: 'üüü"),
    "source without a port": (
        {"datasets": {"coco": {"source": "https://a:b/c"}}},
        "datasets.coco.source: 'https://a:b/c' is no URL (Port could not be cast",
    ),
    "benchmarks none": ({"benchmarks": []}, "benchmarks: List should have at least 1 item"),
    "data url": ({"data": "s3://a/b"}, "data: 's3://a/b' looks like a URL or an option; choose a folder"),
    "image with a blank": ({"container": "a b.sif"}, "container: 'a b.sif' is no image's path or URL"),
    "image option": ({"container": "--x"}, "container: '--x' is no image's path or URL"),
    "data of nobody": ({"data": "~no-such-user/x"}, "data: '~no-such-user/x' is in no known home folder"),
    "data with a null": ({"data": "a\0b"}, "data: 'a\\x00b' has control characters or half a letter in it"),
    "a null in a description": (
        {"systems": {"s": {"description": {"notes": ["a\0b"]}}}},
        "systems.s.description.notes.0: 'a\\x00b' has control characters",
    ),
    "half a letter in a key": ({"a\ud800b": 1}, "a key: 'a\\ud800b' has control characters or half a letter"),
    "a null in a key": (
        {"overrides": {"resnet": {"a\0b": 1}}},
        "overrides.resnet: 'a\\x00b' has control characters or half a letter in it; leave them out",
    ),
    "a key without end": ({"runs": {"x" * 400: 1}}, "runs: a text of 400 characters, 'xxx"),
    "a value without end": ({"status": "x" * 5000}, "status: a text of 5000 characters, 'xxx"),
    "a benchmark of 400 characters": ({"benchmarks": ["x" * 400]}, f"benchmarks.{'x' * 57}...: unknown name"),
    "a system of 400 characters": ({"systems": {"x" * 400: {}}}, "systems: a text of 400 characters, 'xxx"),
    "a submitter of 400 characters": (
        {"submitter": "x" * 400},
        "submitter: 'xxxxxxxxxxxxxxxxxxxx'... has 400",
    ),
    "a source of 400 characters": (
        {"datasets": {"coco": {"source": "/" + "x" * 400}}},
        f"datasets.coco.source: '/{'x' * 56}'... is no path: too long",
    ),
    "a source of an archive with a login": (
        {"datasets": {"coco": {"archive_sources": {"R-50.pkl": "https://ann:secret@[::1/x"}}}},
        "datasets.coco.archive_sources.R-50.pkl: 'https://[::1/x' is no URL (",
    ),
    "no data": ({"data": ""}, "data: '' is no path"),
    "no source": ({"datasets": {"coco": {"source": ""}}}, "datasets.coco.source: '' is no path"),
    "more runs than can be planned": (
        {"runs": 10**9},
        "runs: Input should be less than or equal to 1000, not 1000000000",
    ),
    "more jobs than can be planned": (
        {"datasets": {"coco": {"train_shards": 10**12}}},
        "datasets.coco.train_shards: Input should be less than or equal to 10000, not 1000000000000",
    ),
    "a number that Python does not print": (
        {"seed": -(10**5000)},
        "seed: a number of 16610 bits is too large",
    ),
    "the same inside": (
        {"overrides": {"resnet": {"blocks": [1, 10**5000]}}},
        "overrides.resnet.blocks.1: a number of 16610 bits is too large",
    ),
    "the same as a key": ({"datasets": {10**5000: {}}}, "datasets: a number of 16610 bits is too large"),
    "description with a date": (
        {"systems": {"s": {"description": {"notes": date(2021, 12, 1)}}}},
        "systems.s.description.notes: input was not a valid JSON value, not datetime.date(2021, 12, 1)",
    ),
    "a typo in the only system": (
        {"systems": {"local": None, "gpu": {"processes_per_nodes": 8}}},
        "systems.gpu.processes_per_nodes: unknown key; did you mean processes_per_node?",
    ),
    "the only system is a list": (
        {"systems": {"local": None, "gpu": [8]}},
        "systems.gpu: Input should be a valid dictionary or instance of System, not [8]",
    ),
    "miniature sizes": (
        {"datasets": {"click_logs": {"miniature": {"rows_per_day": "many"}}}},
        "datasets.click_logs.miniature.rows_per_day: Input should be a valid integer",
    ),
    "key number": ({7: 1}, "7: Keys should be strings, not 7"),
    "key none": ({None: 1}, "None: Keys should be strings, not None"),
    "key with a dot": ({"seed.x": 1}, "seed.x: unknown key; did you mean seed?"),
    "ranks": (
        {"systems": {"s": {"launcher": "srun", "nodes": 3}}, "benchmarks": ["resnet"]},
        "overrides.resnet.global_batch_size 32 does not divide into 3 ranks x 1 accumulation steps: "
        "choose a multiple of 3 (system s)",
    ),
    "launcher": (
        {"systems": {"s": {"nodes": 2}}},
        "systems.s.launcher: python starts one process; for several ranks choose torchrun or srun",
    ),
    "torchrun nodes": (
        {"systems": {"s": {"nodes": 2, "launcher": "torchrun"}}},
        "systems.s.launcher: torchrun serves one node here; for several nodes choose srun",
    ),
    "cores": (
        {"systems": {"s": {"processes_per_node": 2, "launcher": "torchrun"}}},
        "systems.s.cores_per_node: 1 cannot serve 2 processes",
    ),
    "a system named like a key": (
        {"systems": {"nodes": {"runtime": 5}}},
        "systems.nodes.runtime: unknown key; did you mean runtime_min?",
    ),
    "an archive that is not declared": (
        {"datasets": {"coco": {"archive_sources": {"R50.pkl": "miniature"}}}},
        "datasets.coco.archive_sources.R50.pkl: unknown name; did you mean R-50.pkl?",
    ),
    "an archive's source": (
        {"datasets": {"coco": {"archive_sources": {"R-50.pkl": 5}}}},
        "datasets.coco.archive_sources.R-50.pkl: Input should be a valid string, not 5",
    ),
    "not chosen but wrong": (
        {"benchmarks": ["dlrm"], "overrides": {"resnet": {"widht": 3}}},
        "overrides.resnet.widht: unknown key; did you mean width?",
    ),
}


@pytest.mark.parametrize(("raw", "expected"), BAD.values(), ids=BAD.keys())
def test_one_error_gives_one_line(raw: dict[Any, Any], expected: str) -> None:
    (line,) = errors(raw)
    assert line.startswith(expected)


@pytest.mark.parametrize("raw", [None, [], "text", 5, [{"scale": "mini"}]])
def test_a_file_that_is_no_map_is_said_to_be_none(raw: Any) -> None:
    assert errors(raw) == [f"a map of keys is expected, not {raw!r}"]


def test_long_values_are_cut() -> None:
    (line,) = errors({"seed": "x" * 10_000})
    assert len(line) < 200


def test_a_missing_key_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    defaults = {
        key: value
        for key, value in registry.defaults("benchmarks", "resnet", "mini").items()
        if key != "width"
    }
    monkeypatch.setattr(registry, "defaults", lambda *_: defaults)
    with pytest.raises(OctathlonError, match="resnet.width: missing"):
        resolve("benchmarks", "resnet", "mini", {})


def test_an_unknown_benchmark_on_the_command_line_is_named() -> None:
    with pytest.raises(OctathlonError, match="unknown name 'resnt': choose one of .*resnet"):
        resolve("benchmarks", "resnt", "mini", {})


# Broken ones -----------------------------------------------------------------------------------------

WORDS = st.sampled_from(
    [
        "scale",
        "mini",
        "all",
        "resnet",
        "imagenet",
        "systems",
        "local",
        "nodes",
        "target",
        "accuracy",
        "cadence",
    ]
    + ["miniature", "source", "blocks", "runs", "", "a.b", "ß"]
)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | WORDS
    | st.text(max_size=5)
    | st.dates()
    | st.binary()
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(SCALARS, inner, max_size=3),
    max_leaves=8,
)


def paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """All places in a nested map."""
    inner = value.items() if isinstance(value, dict) else ()
    return [path, *(each for key, child in inner for each in paths(child, (*path, key)))]


SHIPPED = yaml.safe_load((ROOT / "config.yaml").read_text())
GOOD = SHIPPED | {
    "systems": {"local": None, "box": SHIPPED["systems"]["local"]},
    "runs": {"resnet": 3},
    "datasets": {
        "imagenet": {"source": "miniature", "miniature": {"train_per_class": 9}},
        "coco": {"archive_sources": {"R-50.pkl": "upstream"}},
    },
    "overrides": {"resnet": {"cadence": {"every": 2}, "target": {"accuracy": 0.5}, "blocks": [1, 1]}},
}


def broken(place: tuple[Any, ...], value: Any) -> Any:
    """GOOD with `value` at one place."""
    if not place:
        return value
    result = yaml.safe_load(yaml.safe_dump(GOOD))
    at = result
    for key in place[:-1]:
        at = at[key]
    at[place[-1]] = value
    return result


@given(place=st.sampled_from(paths(GOOD)), value=VALUES)
def test_whatever_stands_anywhere_gives_a_configuration_or_a_complaint(
    place: tuple[Any, ...], value: Any
) -> None:
    try:
        assert isinstance(load(broken(place, value)), Config)
    except OctathlonError as error:
        assert str(error).startswith("the configuration has ")


@given(place=st.sampled_from([path for path in paths(GOOD) if path]), name=SCALARS, value=VALUES)
def test_an_added_key_gives_a_configuration_or_a_complaint(
    place: tuple[Any, ...], name: Any, value: Any
) -> None:
    raw = broken((*place[:-1], name), value)
    try:
        assert isinstance(load(raw), Config)
    except OctathlonError as error:
        assert str(error).startswith("the configuration has ")


# Merging ---------------------------------------------------------------------------------------------


def test_maps_merge_and_all_else_is_replaced() -> None:
    base = {"a": {"x": 1, "y": {"z": 2}}, "b": [1, 2], "c": 3}
    over = {"a": {"y": {"w": 4}}, "b": [5], "c": {"d": 6}}
    assert merge(base, over) == {"a": {"x": 1, "y": {"z": 2, "w": 4}}, "b": [5], "c": {"d": 6}}
    assert base == {"a": {"x": 1, "y": {"z": 2}}, "b": [1, 2], "c": 3}
