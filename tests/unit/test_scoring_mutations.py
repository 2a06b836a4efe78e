"""10,000 mutated logs: none crashes the scorer, none gets a number that the rules do not allow.

Each example mutates one good log step by step and judges it after each step against a slow and simple
reading of the rules that shares no code with the scorer.
"""

import json
import random
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from training_logs import line, log_lines

from octathlon.scoring.checker import UNFILED, _Reading, check_log, read_and_check
from octathlon.scoring.compliance import waive
from octathlon.scoring.entries import score_paths
from octathlon.scoring.logs import marked_lines, read_blocks
from octathlon.scoring.outcomes import judge
from octathlon.scoring.rules import load_round
from octathlon.scoring.runs import read_log
from octathlon.scoring.seeds import check_seeds

sys.path.insert(0, str(Path(__file__).parents[1] / "golden"))
from closed_logs import RUNS, closed_log

EXAMPLES, STEPS = 500, 20
TASKS = {
    "resnet": [0.3, 0.7595, 0.77],
    "maskrcnn": [{"BBOX": 0.3, "SEGM": 0.3}, {"BBOX": 0.38, "SEGM": 0.34}],
    "rnnt": [0.1, 0.057],
}
NUMBERS = [
    b"NaN",
    b"Infinity",
    b"-1",
    b"0",
    b"1e999",
    b"9" * 500,
    b'"0.76"',
    b"null",
    b"{}",
    b"[[[[]]]]",
    b"true",
    b"0.76",
]
WORDS = [
    b"success",
    b"aborted",
    b"run_stop",
    b"run_start",
    b"eval_accuracy",
    b":::MLLOG ",
    b"status",
    b"time_ms",
    b"init_stop",
]


def truncate(lines, rng):
    return b"\n".join(lines)[: rng.randrange(1 + sum(map(len, lines)))].split(b"\n")


def reorder(lines, rng):
    return rng.sample(lines, len(lines))


def duplicate(lines, rng):
    return lines + [rng.choice(lines)]


def delete(lines, rng):
    lines = list(lines)
    lines.pop(rng.randrange(len(lines)))
    return lines or [b""]


def end_lines_otherwise(lines, rng):
    return [each + rng.choice([b"\r", b"\r\r", b" ", b"\x00", b"\x85"]) for each in lines]


def byte_order_mark(lines, rng):
    return [rng.choice([b"\xef\xbb\xbf", b"\xff\xfe"]) + lines[0], *lines[1:]]


def bad_bytes(lines, rng):
    index = rng.randrange(len(lines))
    text = bytearray(lines[index] or b" ")
    text[rng.randrange(len(text))] = rng.randrange(256)
    return [*lines[:index], bytes(text), *lines[index + 1 :]]


def other_number(lines, rng):
    index = rng.randrange(len(lines))
    parts = lines[index].split(b": ")
    place = rng.randrange(len(parts))
    parts[place] = rng.choice(NUMBERS) + b"," + parts[place].partition(b",")[2]
    return [*lines[:index], b": ".join(parts), *lines[index + 1 :]]


def other_word(lines, rng):
    index = rng.randrange(len(lines))
    return [*lines[:index], lines[index].replace(rng.choice(WORDS), rng.choice(WORDS)), *lines[index + 1 :]]


def huge_line(lines, rng):
    return [*lines, b"x" * rng.randrange(70_000) + rng.choice(lines), b'{"key": ' * 5000]


def nested(lines, rng):
    """Python prints or compares no more than some 900 levels, and its parsers read more."""
    depth, key = (
        rng.choice([5, 900, 980, 2000]),
        rng.choice(["eval_accuracy", "run_stop", "seed", "opt_name"]),
    )
    text = line(key, 99, "deep", status="deep", epoch_num="deep")
    return [*lines, text.replace('"deep"', "[" * depth + "]" * depth).encode()]


def clock_backwards(lines, rng):
    return [
        *lines,
        line(
            rng.choice(["run_start", "run_stop", "init_stop"]),
            -rng.randrange(9999),
            status=rng.choice(["success", "abort"]),
        ).encode(),
    ]


def half_a_line(lines, rng):
    one, other = rng.choice(lines), rng.choice(lines)
    return [*lines, one[: rng.randrange(1 + len(one))] + other]


MUTATIONS = [
    truncate, reorder, duplicate, delete, end_lines_otherwise, byte_order_mark, bad_bytes, other_number,
    other_word, huge_line, nested, clock_backwards, half_a_line,
]  # fmt: skip


def allowed_minutes(text, task):
    """All times that the log can justify: none unless it tells of a success, and of a quality within the
    target."""
    starts, stops, statuses, good = [], [], set(), False
    for piece in text.replace(b"\r", b"\n").split(b"\n"):
        _, marker, rest = piece.rpartition(b":::MLLOG ")
        if b"[" * 900 in rest:
            continue
        try:
            event = json.loads(rest.decode(errors="replace"), strict=False) if marker else {}
            key, time = event.get("key"), float(event.get("time_ms", "none"))
        except (ValueError, TypeError, AttributeError, RecursionError, OverflowError):
            continue
        if key == "run_start":
            starts.append(time)
        elif key == "run_stop":
            stops.append(time)
            metadata = event.get("metadata")
            statuses.add(str(metadata.get("status")) if isinstance(metadata, dict) else "")
        elif key == "eval_accuracy":
            good |= within(event.get("value"), task)
    if statuses != {"success"} or not good:
        return set()
    return {(stop - start) / 60000 for start in starts for stop in stops if stop > start}


def within(value, task):
    try:
        if task == "maskrcnn":
            value = value if "BBOX" in value else value["accuracy"]
            return 0.377 <= float(value["BBOX"]) < 1 and 0.339 <= float(value["SEGM"]) < 1
        number = float(value["accuracy"] if isinstance(value, dict) else value)
    except (TypeError, ValueError, KeyError, AttributeError, OverflowError):
        return False
    return 0.759 <= number < 1 if task == "resnet" else 0 < number <= 0.058


@settings(max_examples=EXAMPLES, deadline=None, database=None, derandomize=True)
@given(st.integers(0, 2**63), st.sampled_from(sorted(TASKS)))
def test_no_mutated_log_gets_a_number_that_the_rules_do_not_allow(tmp_path_factory, seed, task):
    rng = random.Random(seed)
    rules = load_round("v1.1")
    path = tmp_path_factory.getbasetemp() / "result_0.txt"
    good = [each.encode() for each in log_lines(quality=TASKS[task], benchmark=task, seed=5)]
    lines = good
    for _ in range(STEPS):
        fresh = rng.random() < 0.4 or len(b"".join(lines)) > 200_000 or not any(lines)
        lines = rng.choice(MUTATIONS)(good if fresh else lines, rng)
        text = b"\n".join(lines)
        path.write_bytes(text)
        run = judge(read_log(path), rules, rules.task(task), "closed")
        if run.converged:
            assert run.minutes in allowed_minutes(text, task), text
        else:
            assert run.reason


def mutated(name, seed, mutations, at_once):
    """Ten logs, each one mutated further than the one before."""
    rng = random.Random(seed)
    lines = [f":::MLLOG {json.dumps(event)}".encode() for event in closed_log(name)]
    for _ in range(10):
        for mutate in rng.choices(mutations, k=at_once):
            lines = mutate(lines, rng)
        yield b"\n".join(lines)


@settings(max_examples=100, deadline=None, database=None, derandomize=True)
@given(st.sampled_from(list(RUNS)), st.integers(0, 2**63))
def test_no_mutated_log_makes_the_check_fail(tmp_path_factory, name, seed):
    path = tmp_path_factory.mktemp("check") / "result_0.txt"
    for text in mutated(name, seed, MUTATIONS, at_once=1):
        path.write_bytes(text)
        findings = [*check_log(path, "v1.1"), *check_seeds([read_log(path)], None)]
        assert all(finding.words and finding.rule for finding in findings)


def other_digit(lines, rng):
    """Of the same shape, and perhaps no JSON any more."""
    index = rng.randrange(len(lines))
    text = bytearray(lines[index])
    if places := [place for place, byte in enumerate(text) if byte in b"0123456789"]:
        text[rng.choice(places)] = rng.choice(b"0019")
    return [*lines[:index], bytes(text), *lines[index + 1 :]]


def read_line_by_line(path, round_name):
    """What reading the log says if each line is parsed, whatever is known of others like it."""
    reading = _Reading(path, round_name, UNFILED)
    for first, block in read_blocks(path, reading.report):
        reading.recorder.measure(block)
        for number, text in marked_lines(block, first):
            reading._parse(text, number)
    findings = [waive(finding, round_name, "") for finding in reading.checker.finish()]
    return reading.recorder.log, sorted(findings, key=lambda finding: finding.severity)


@settings(max_examples=12, deadline=None, database=None, derandomize=True)
@given(st.sampled_from(list(RUNS)), st.integers(0, 2**63))
def test_knowing_lines_again_says_what_parsing_each_of_them_does(tmp_path_factory, name, seed):
    path = tmp_path_factory.mktemp("again") / "result_0.txt"
    for text in mutated(name, seed, [*MUTATIONS, *[other_digit] * 4], at_once=4):
        path.write_bytes(text)
        expected = read_line_by_line(path, "v1.1")
        assert read_and_check(path, "v1.1", UNFILED) == expected
        assert read_and_check(path, "v1.1", UNFILED) == expected, "once all that can be is known"


@pytest.mark.parametrize("task", TASKS)
def test_the_reference_of_the_mutations_accepts_the_good_log(task):
    text = "\n".join(log_lines(quality=TASKS[task], benchmark=task)).encode()
    assert allowed_minutes(text, task) == {30.0}


@settings(max_examples=150, deadline=None, database=None, derandomize=True)
@given(st.integers(0, 2**63))
def test_no_folder_of_mutated_logs_gets_a_score_from_too_few_runs(tmp_path_factory, seed):
    rng = random.Random(seed)
    folder = tmp_path_factory.mktemp("tree") / "o/results/s/resnet"
    folder.mkdir(parents=True)
    good = [each.encode() for each in log_lines(quality=TASKS["resnet"])]
    allowed = []
    for number in range(5):
        lines = rng.choice(MUTATIONS)(good, rng) if rng.random() < 0.5 else good
        (folder / f"result_{number}.txt").write_bytes(b"\n".join(lines))
        allowed.append(allowed_minutes(b"\n".join(lines), "resnet"))
    (entry,), _ = score_paths([folder], "v1.1")
    if entry.score.minutes is not None:
        assert sum(map(bool, allowed)) >= 4
        assert (
            min(map(min, filter(None, allowed)))
            <= entry.score.minutes
            <= max(map(max, filter(None, allowed)))
        )
    else:
        assert entry.reason
