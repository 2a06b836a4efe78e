"""The rounds' rules as data."""

import math
import shutil

import pytest

from octathlon.errors import OctathlonError
from octathlon.scoring import rule_data, rules
from octathlon.scoring.rules import all_rounds, load_round, round_names


@pytest.fixture
def fresh():
    """Forget the rounds that were loaded, before and after."""

    def forget():
        for function in (rule_data.load, rules.load_round, rules.all_rounds):
            function.cache_clear()

    forget()
    yield
    forget()


def test_rounds_in_order():
    training = ["v0.5", "v0.6", "v0.7", "v1.0", "v1.1", "v2.0", "v2.1", "v3.0", "v3.1", "v4.0", "v4.1"]
    training += ["v5.0", "v5.1", "v6.0"]
    assert round_names() == [*training, "hpc-v0.7", "hpc-v1.0", "hpc-v2.0", "hpc-v3.0"]
    published = [each.published for each in all_rounds() if each.series == "training"]
    assert published == sorted(published)


RUNS = {"resnet": 5, "ssd": 5, "maskrcnn": 5, "bert": 10, "dlrm": 5, "rnnt": 10, "unet3d": 40, "minigo": 10}


def test_v11_is_the_suite_of_eight():
    """Runs and drops of training_rules.adoc, table "Runs per benchmark"."""
    tasks = load_round("v1.1").tasks
    assert {name: task.runs for name, task in tasks.items()} == RUNS
    assert {name: task.drop for name, task in tasks.items()} == dict.fromkeys(RUNS, 1) | {"unet3d": 4}
    assert load_round("v1.1").ruleset == "1.1.0"


TARGETS = [
    ("v0.5", "resnet", 0.749, 0.7489),
    ("v0.5", "resnet", 0.7489999890327454, 0.74899),  # printed from 32-bit floats
    ("v0.5", "ncf", 0.635, 0.6349),
    ("v0.5", "gnmt", 21.8, 21.79),
    ("v0.6", "resnet", 0.759, 0.75899),
    ("v0.6", "resnet", 0.759, 0.7589999),  # no tolerance after v0.5
    ("v0.6", "gnmt", 24.0, 23.99),
    ("v0.6", "transformer", 25.0, 24.99),
    ("v0.7", "gnmt", 0.24, 0.2399),
    ("v0.7", "transformer", 0.25, 0.2499),
    ("v1.1", "resnet", 0.759, 0.75899),
    ("v1.1", "ssd", 0.230, 0.2299),
    ("v1.1", "bert", 0.720, 0.7199),
    ("v1.1", "dlrm", 0.8025, 0.80249),
    ("v1.1", "rnnt", 0.058, 0.05801),
    ("v1.1", "rnnt", 0.02, 0.0),
    ("v1.1", "unet3d", 0.908, 0.9079),
    ("v1.1", "minigo", 0.5, 0.4999),
    ("v1.1", "resnet", 0.9, 1.0),
]


@pytest.mark.parametrize(("round_name", "name", "met", "missed"), TARGETS)
def test_targets_at_their_bounds(round_name, name, met, missed):
    task = load_round(round_name).task(name)
    (metric,) = task.target
    assert task.reached({metric: met})
    assert not task.reached({metric: missed})
    assert not task.reached({metric: math.nan})
    assert not task.reached({})


def test_maskrcnn_needs_both_metrics_in_one_evaluation():
    task = load_round("v1.1").task("maskrcnn")
    assert task.reached({"BBOX": 0.377, "SEGM": 0.339})
    assert not task.reached({"BBOX": 0.376, "SEGM": 0.9})
    assert not task.reached({"BBOX": 0.9})


def test_bert_of_v07_has_a_lower_target_for_large_batches():
    task = load_round("v0.7").task("bert")
    assert task.reached({"mlm_accuracy": 0.706}, 8192)
    assert not task.reached({"mlm_accuracy": 0.706}, 8191)
    assert not task.reached({"mlm_accuracy": 0.706})


def test_rnnt_is_the_only_one_where_less_is_better():
    assert [task.name for task in load_round("v1.1").tasks.values() if not task.higher_is_better] == ["rnnt"]


def test_an_unknown_round_is_named_with_the_known_ones():
    with pytest.raises(
        OctathlonError, match=r"unknown round 'v9': choose one of v0.5, v0.6, v0.7, v1.0, v1.1"
    ):
        load_round("v9")


def test_adding_a_round_is_adding_a_file(tmp_path, monkeypatch, fresh):
    folder = shutil.copytree(rule_data.ROUNDS, tmp_path / "rounds")
    text = (folder / "v1.1.yaml").read_text().replace("2021-08-01", "2026-07-01")
    (folder / "v9.0.yaml").write_text(text.replace("  ssd:", "  retinanet:"))
    monkeypatch.setattr(rule_data, "ROUNDS", folder)
    assert "v9.0" in round_names()
    assert load_round("v9.0").task("retinanet").runs == 5
    assert load_round("v9.0").task("ssd") is None
