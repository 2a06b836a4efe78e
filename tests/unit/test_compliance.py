"""Compliance with ruleset 1.1.0: right logs pass, faults are named, and the official checker agrees."""

import json
import logging
import sys
from importlib.resources import files
from pathlib import Path

import pytest
import yaml
from mlperf_logging.compliance_checker import mlp_compliance

from octathlon.scoring import compliance
from octathlon.scoring.checker import check_log
from octathlon.scoring.compliance import Filed

sys.path.insert(0, str(Path(__file__).parents[1] / "golden"))
from closed_logs import RUNS, closed_log, tensor_names, write_log

MINUTE = 60_000
LAYERS = compliance.layers("v1.1")


def check(path, filed=Filed()):  # noqa: B008 (it is frozen)
    return check_log(path, "v1.1", filed)


def official(path):
    """The official checker's verdict; it ends in FileNotFoundError on a name that has no rules."""
    checker = mlp_compliance.make_checker("training", "1.1.0", quiet=True, werror=False)
    mlp_compliance.enqueued_configs.clear()
    logging.disable(logging.CRITICAL)
    try:
        return mlp_compliance.main(str(path), "training_1.1.0/common.yaml", checker)[0]
    except FileNotFoundError:
        return False
    finally:
        logging.disable(logging.NOTSET)


def errors(path):
    return [finding for finding in check(path) if finding.severity == "error"]


# Faults: each takes the list of events and changes one thing


def first(events, key):
    return next(event for event in events if event["key"] == key)


def without(key):
    return lambda events: [event for event in events if event["key"] != key]


def value(key, new):
    def change(events):
        first(events, key)["value"] = new
        return events

    return change


def every_value(key, new):
    return lambda events: [event | {"value": new} if event["key"] == key else event for event in events]


def no_metadata(key, name):
    def change(events):
        del first(events, key)["metadata"][name]
        return events

    return change


def twice(key, new):
    def change(events):
        event = first(events, key)
        at = events.index(event)
        return [*events[:at], event, event | {"value": new}, *events[at + 1 :]]

    return change


def moved(key, after):
    def change(events):
        event = first(events, key)
        events.remove(event)
        at = events.index(first(events, after)) + 1
        return [*events[:at], event, *events[at:]]

    return change


def later(key, milliseconds):
    def change(events):
        at = events.index(first(events, key))
        return events[:at] + [event | {"time_ms": event["time_ms"] + milliseconds} for event in events[at:]]

    return change


def block_of(count):
    def change(events):
        first(events, "block_start")["metadata"]["epoch_count"] = count
        return events

    return change


# benchmark, fault, and all the errors it must give: the rule, and sometimes one that breaks with it
FAULTS = [
    # who and what
    ("resnet", without("submission_org"), "submission_org.count"),
    ("ssd", value("submission_platform", ""), "submission_platform.value"),
    ("bert", value("submission_division", "Closed!"), "submission_division.value"),
    ("dlrm", value("submission_status", "available"), "submission_status.value"),
    ("rnnt", value("submission_benchmark", "rnn_translator"), "submission_benchmark.value"),
    ("unet3d", twice("submission_org", "another"), "submission_org.count"),
    # clock and order
    ("minigo", without("cache_clear"), "cache_clear.count"),
    ("maskrcnn", without("init_start"), "init_start.count init_stop.order"),
    ("resnet", later("init_stop", 30 * MINUTE), "init_stop.within"),
    ("bert", moved("init_stop", "run_start"), "init_stop.order run_start.order"),
    ("ssd", moved("init_start", "init_stop"), "init_start.order init_stop.order"),
    ("unet3d", moved("run_stop", "init_start"), "run_stop.order"),
    ("dlrm", twice("run_start", 7), "run_start.count"),
    ("rnnt", no_metadata("run_stop", "status"), "run_stop.metadata"),
    ("maskrcnn", without("run_stop"), "run_stop.count"),
    # progress
    ("resnet", no_metadata("block_start", "first_epoch_num"), "block_start.metadata"),
    ("ssd", block_of(0), "block_start.metadata"),
    ("bert", without("block_start"), "block_start.count"),
    ("dlrm", no_metadata("eval_accuracy", "epoch_num"), "eval_accuracy.metadata"),
    ("rnnt", no_metadata("eval_start", "epoch_num"), "eval_start.metadata"),
    # quality
    ("resnet", every_value("eval_accuracy", 0.7589), "eval_accuracy.reached"),
    ("ssd", every_value("eval_accuracy", float("nan")), "eval_accuracy.reached"),
    ("bert", every_value("eval_accuracy", 1.0), "eval_accuracy.reached"),
    ("rnnt", every_value("eval_accuracy", 0.0), "eval_accuracy.reached"),
    ("maskrcnn", every_value("eval_accuracy", {"BBOX": 0.4, "SEGM": 0.3}), "eval_accuracy.reached"),
    ("maskrcnn", value("eval_accuracy", {"BBOX": 0.374}), "eval_accuracy.value"),
    ("unet3d", without("eval_accuracy"), "eval_accuracy.count"),
    ("minigo", every_value("eval_accuracy", 0.49), "eval_accuracy.reached"),
    # data
    ("unet3d", value("train_samples", 160), "train_samples.value"),
    ("unet3d", value("eval_samples", 43), "eval_samples.value"),
    ("rnnt", value("eval_samples", 2704), "eval_samples.value"),
    ("resnet", without("train_samples"), "train_samples.count"),
    ("minigo", value("min_selfplay_games_per_generation", 2048), "min_selfplay_games_per_generation.value"),
    (
        "minigo",
        value("actual_selfplay_games_per_generation", 8191),
        "actual_selfplay_games_per_generation.value",
    ),
    # hyperparameters
    ("resnet", value("opt_name", "adam"), "opt_name.value"),
    ("resnet", value("lars_opt_weight_decay", 0.0003), "lars_opt_weight_decay.value"),
    ("resnet", value("lars_epsilon", 1e-6), "lars_epsilon.value"),
    ("resnet_sgd", value("sgd_opt_base_learning_rate", 1.7005), "sgd_opt_base_learning_rate.value"),
    ("resnet_sgd", without("model_bn_span"), "model_bn_span.count"),
    ("resnet", value("gradient_accumulation_steps", 0), "gradient_accumulation_steps.value"),
    ("ssd", value("max_samples", 49), "max_samples.value"),
    (
        "ssd",
        value("opt_learning_rate_decay_boundary_epochs", [60, 76]),
        "opt_learning_rate_decay_boundary_epochs.value",
    ),
    ("maskrcnn", value("opt_base_learning_rate", 0.13), "opt_base_learning_rate.value"),
    ("maskrcnn", value("opt_learning_rate_decay_steps", [12000]), "opt_learning_rate_decay_steps.value"),
    ("bert", without("opt_lamb_beta_2"), "opt_lamb_beta_2.count"),
    (
        "dlrm",
        value("sgd_opt_learning_rate_decay_poly_power", 1),
        "sgd_opt_learning_rate_decay_poly_power.value",
    ),
    ("rnnt", value("opt_gradient_clip_norm", 2), "opt_gradient_clip_norm.value"),
    ("rnnt", value("data_train_num_buckets", 1.5), "data_train_num_buckets.value"),
    ("unet3d", twice("seed", 4), "seed.count"),
]


@pytest.mark.parametrize("name", RUNS)
def test_a_right_log_has_no_finding(name, tmp_path):
    path = write_log(tmp_path / "result_0.txt", closed_log(name))
    assert check(path) == []
    assert official(path)


@pytest.mark.parametrize(
    ("name", "fault", "rules"), FAULTS, ids=[f"{name}-{rules}" for name, _, rules in FAULTS]
)
def test_a_single_fault_is_named(name, fault, rules, tmp_path):
    path = write_log(tmp_path / "result_0.txt", fault(closed_log(name)))
    assert {finding.rule for finding in errors(path)} == set(rules.split())
    assert not official(path)


def test_a_finding_says_its_line(tmp_path):
    events = value("max_samples", 49)(closed_log("ssd"))
    (finding,) = check(write_log(tmp_path / "result_0.txt", events))
    assert events[finding.line - 1]["key"] == "max_samples"
    assert finding.words == "49 is not one of [1, 50]"


def test_the_limit_of_initialisation_is_exclusive(tmp_path):
    events = closed_log("resnet")
    spent = first(events, "init_stop")["time_ms"] - first(events, "init_start")["time_ms"]
    just_below = later("init_stop", 30 * MINUTE - spent - 1)(closed_log("resnet"))
    at_limit = later("init_stop", 30 * MINUTE - spent)(closed_log("resnet"))
    assert errors(write_log(tmp_path / "below.txt", just_below)) == []
    assert errors(write_log(tmp_path / "at.txt", at_limit))[0].rule == "init_stop.within"


@pytest.mark.parametrize(
    ("fault", "rule"),
    [
        (without("weights_initialization"), "weights_initialization.count"),
        (lambda events: events[:40] + events[41:], "weights_initialization.tensors"),
        (twice("global_batch_size", 56), "global_batch_size.count"),
    ],
)
def test_what_the_round_only_warned_about(fault, rule, tmp_path):
    findings = check(write_log(tmp_path / "result_0.txt", fault(closed_log("unet3d"))))
    assert [(finding.severity, finding.rule) for finding in findings] == [("warning", rule)]


def test_rule_text_that_the_official_checker_does_not_test_is_a_warning(tmp_path):
    events = value("opt_learning_rate_decay_boundary_epochs", [61, 75])(closed_log("ssd"))
    path = write_log(tmp_path / "result_0.txt", events)
    assert [finding.severity for finding in check(path)] == ["warning"]
    assert official(path)


@pytest.mark.parametrize("name", RUNS)
def test_tensor_lists_are_the_official_ones(name):
    benchmark, _, optimizer = name.partition("_")
    rule = compliance.rules_of("v1.1", "closed", benchmark, optimizer).by_key["weights_initialization"]
    assert sorted(rule["tensors"].elements()) == sorted(tensor_names(benchmark))


@pytest.mark.parametrize("layer", [name for name in LAYERS if name not in {"open", "closed"}])
def test_every_official_key_has_a_rule(layer):
    folder = files("mlperf_logging") / "compliance_checker" / "training_1.1.0"
    entries = yaml.load((folder / f"{layer}.yaml").read_text(), yaml.BaseLoader)
    keys = {entry["KEY"]["NAME"] for entry in entries if "KEY" in entry}
    assert keys == set(LAYERS[layer]) - {"submission_benchmark"}


# The open division and broken files


def test_open_runs_may_train_anything(tmp_path):
    events = every_value("eval_accuracy", 0.31)(closed_log("resnet"))
    first(events, "submission_division")["value"] = "open"
    path = write_log(tmp_path / "result_0.txt", without("opt_name")(events))
    assert check(path) == []
    assert official(path)


def test_open_maskrcnn_has_two_qualities(tmp_path):
    events = closed_log("maskrcnn")
    first(events, "submission_division")["value"] = "open"
    path = write_log(tmp_path / "result_0.txt", events)
    assert check(path) == []
    assert official(path)
    events = every_value("eval_accuracy", {"BBOX": 37.7, "SEGM": 33.9})(events)
    assert [finding.rule for finding in check(write_log(path, events))] == ["eval_accuracy.reached"]
    assert not official(path)


def test_an_aborted_open_run_keeps_the_rules(tmp_path):
    events = closed_log("dlrm", status="aborted")
    first(events, "submission_division")["value"] = "open"
    assert check(write_log(tmp_path / "result_0.txt", events)) == []


@pytest.mark.parametrize("content", [b"", b"killed\n", b"\xff\xfe\x00" * 100])
def test_a_file_without_events(content, tmp_path):
    path = tmp_path / "result_0.txt"
    path.write_bytes(content)
    assert "log.empty" in {finding.rule for finding in errors(path)}


def test_a_broken_line_is_named(tmp_path):
    lines = [f":::MLLOG {json.dumps(event)}" for event in closed_log("bert")]
    lines[6] = lines[6][:-3]
    path = tmp_path / "result_0.txt"
    path.write_text("\n".join(lines))
    found = {finding.rule: finding.line for finding in errors(path)}
    assert found["log.format"] == 7
    assert not official(path)


@pytest.mark.parametrize("junk", [None, [], {}, "x" * 10_000, [[1]], True, {"closed": 1}, 10**400])
@pytest.mark.parametrize(
    "key",
    ["submission_division", "submission_benchmark", "opt_name", "eval_accuracy", "lars_opt_weight_decay"],
)
def test_no_value_makes_it_crash(key, junk, tmp_path):
    path = write_log(tmp_path / "result_0.txt", every_value(key, junk)(closed_log("resnet")))
    assert errors(path)
