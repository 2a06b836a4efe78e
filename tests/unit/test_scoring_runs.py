"""One log's outcome under the rules."""

import pytest
from training_logs import IMAGENET, line, log_lines

from octathlon.scoring.checker import check_log
from octathlon.scoring.outcomes import judge
from octathlon.scoring.rules import load_round
from octathlon.scoring.runs import read_log

V11 = load_round("v1.1")


def outcome(tmp_path, lines, benchmark="resnet", division="closed", rules=V11):
    path = tmp_path / "result_0.txt"
    path.write_text("\n".join(lines) + "\n")
    return judge(read_log(path), rules, rules.task(benchmark), division)


def test_a_good_run(tmp_path):
    run = outcome(tmp_path, log_lines(minutes=30.5, quality=[0.5, 0.76, 0.8], seed=7, global_batch_size=256))
    assert (run.converged, run.reason, run.minutes, run.init_minutes) == (True, "", 30.5, 1.0)
    assert (run.epoch, run.quality) == (2, {"accuracy": 0.76})
    assert run.log.numbers == {"seed": 7, "global_batch_size": 256, **IMAGENET}
    assert run.anomalies == ()


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"status": "aborted"}, "status aborted"),
        ({"status": "success "}, "status success "),
        ({"quality": [0.7, 0.7589]}, "target not met (best 0.7589)"),
        ({"quality": [1.0]}, "target not met (best 1)"),
        ({"quality": [float("nan")]}, "no evaluation"),
        ({"quality": []}, "no evaluation"),
        ({"quality": [{"AUC": 0.8, "top5": 0.9}]}, "no evaluation"),
        ({"quality": [{"loss": 0.8}]}, "no evaluation"),
        ({"minutes": 0}, "run_stop is not after run_start"),
        ({"minutes": -1}, "run_stop is not after run_start"),
        ({"init_minutes": 30.0}, "initialisation took 30.0 minutes (limit 30)"),
        ({"benchmark": "dlrm", "quality": [0.81]}, "the log is one of dlrm"),
    ],
)
def test_why_a_run_does_not_count(tmp_path, options, reason):
    run = outcome(tmp_path, log_lines(**options))
    assert (run.converged, run.reason) == (False, reason)


def test_initialisation_just_within_the_limit(tmp_path):
    assert outcome(tmp_path, log_lines(init_minutes=29.99)).converged
    v07 = load_round("v0.7")
    assert not outcome(tmp_path, log_lines(init_minutes=20), rules=v07).converged


def test_an_aborted_run_with_success_elsewhere_in_its_line(tmp_path):
    lines = [*log_lines()[:-1], line("run_stop", 4000, "success", status="aborted", note="success")]
    assert outcome(tmp_path, lines).reason == "status aborted"


@pytest.mark.parametrize("missing", ["run_start", "run_stop"])
def test_a_log_cut_short(tmp_path, missing):
    lines = [each for each in log_lines() if missing not in each]
    assert outcome(tmp_path, lines).reason == f"no {missing}"


def test_a_run_stop_without_a_status_does_not_count(tmp_path):
    lines = [*log_lines()[:-1], line("run_stop", 4000)]
    assert outcome(tmp_path, lines).reason == "status None"


def test_no_log_can_forge_the_status_of_formats_without_one(tmp_path):
    for word in ("unstated", None, "", False):
        assert not outcome(tmp_path, [*log_lines()[:-1], line("run_stop", 4000, status=word)]).converged


def test_the_order_of_lines_does_not_matter(tmp_path):
    lines = log_lines(quality=[0.3, 0.76, 0.77])
    assert outcome(tmp_path, lines[::-1]).minutes == outcome(tmp_path, lines).minutes == 30
    assert outcome(tmp_path, lines[::-1]).epoch == 2


def test_repeated_clocks_count_from_the_earliest_start_to_the_earliest_stop(tmp_path):
    lines = log_lines(minutes=10)
    lines += [line("run_start", 61), line("run_stop", 60 + 601, status="success")]
    run = outcome(tmp_path, lines)
    assert (run.converged, run.minutes) == (True, 10)
    assert "several run_start events: the earliest counts" in run.anomalies


def test_ranks_that_disagree_about_success_do_not_count(tmp_path):
    run = outcome(tmp_path, [*log_lines(), line("run_stop", 9999, status="aborted")])
    assert run.reason == "run_stop has different statuses: success, aborted"


def test_evaluations_before_the_clock_do_not_count(tmp_path):
    lines = log_lines(quality=[0.5]) + [line("eval_accuracy", 1, 0.8, epoch_num=1)]
    assert outcome(tmp_path, lines).reason == "target not met (best 0.5)"


def test_a_target_met_after_the_clock_is_named_unless_checkpoints_are_evaluated_then(tmp_path):
    late = [line("eval_accuracy", 4000, 0.8, epoch_num=9)]
    run = outcome(tmp_path, log_lines(quality=[0.4]) + late)
    assert "target met only after run_stop" in run.anomalies
    minigo = outcome(tmp_path, log_lines(quality=[0.4], benchmark="minigo") + late, "minigo")
    assert (minigo.converged, minigo.anomalies) == (True, ())


def test_success_without_the_target_and_the_reverse_are_named(tmp_path):
    assert (
        "status success without the round's target" in outcome(tmp_path, log_lines(quality=[0.1])).anomalies
    )
    assert (
        "status aborted with the round's target met"
        in outcome(tmp_path, log_lines(status="aborted")).anomalies
    )


def test_open_division_has_its_own_target(tmp_path):
    run = outcome(tmp_path, log_lines(quality=[0.2, 0.1]), division="open")
    assert (run.converged, run.quality, run.epoch, run.anomalies) == (True, {"accuracy": 0.1}, 2, ())
    assert outcome(tmp_path, log_lines(quality=[]), division="open").reason == "no evaluation"
    assert outcome(tmp_path, log_lines(status="aborted"), division="open").reason == "status aborted"


@pytest.mark.parametrize(
    "value",
    [{"BBOX": 0.38, "SEGM": 0.34}, [0.38, 0.34], {"accuracy": {"BBOX": "0.38", "SEGM": 0.34}}],
    ids=["object", "list", "nested"],
)
def test_maskrcnn_values_in_every_shape_of_the_rounds(tmp_path, value):
    run = outcome(tmp_path, log_lines(quality=[value], benchmark="maskrcnn"), "maskrcnn")
    assert run.quality == {"BBOX": 0.38, "SEGM": 0.34}
    assert run.converged


def test_minigo_of_v06_stops_at_the_first_passing_checkpoint(tmp_path):
    lines = [
        ':::MLL 1560822993.653 run_start: {"value": null, "metadata": {}}',
        ':::MLL 1560828282.121 eval_accuracy: {"metadata": {"epoch_num": 18}, "value": 0.47}',
        ':::MLL 1560828319.233 eval_accuracy: {"metadata": {"epoch_num": 19}, "value": 0.51}',
        ':::MLL 1560828319 eval_result: {"metadata": {"iteration": 19, "timestamp": 1725.869}, "value": 0}',
    ]
    rules = load_round("v0.6")
    assert outcome(tmp_path, lines, "minigo", rules=rules).minutes == pytest.approx(1725.869 / 60, abs=1e-12)
    stopped = ':::MLL 1560828320 run_stop: {"value": null, "metadata": {"status": "success"}}'
    after = outcome(tmp_path, [*lines, stopped], "minigo", rules=rules)  # once all models are evaluated
    assert after.minutes == pytest.approx(1725.869 / 60, abs=1e-12)
    assert outcome(tmp_path, lines[:-1], "minigo", rules=rules).reason == "no run_stop"
    assert outcome(tmp_path, lines, "minigo").reason == "no run_stop"  # v1.1 wants one


def test_an_event_that_another_one_is_glued_to_is_named(tmp_path):
    """The last event of a line alone is read, as by the official parser."""
    lines = log_lines()
    at = next(number for number, text in enumerate(lines) if '"run_start"' in text)
    glued = [*lines[:at], lines[at] + lines[at + 1], *lines[at + 2 :]]
    assert outcome(tmp_path, glued).reason.startswith(
        f"no run_start (line {at + 1} has it, but is damaged, or"
    )
    cut = [*lines[:-1], lines[-1][:-9]]
    assert outcome(tmp_path, cut).reason.startswith(f"no run_stop (line {len(lines)} has it")


def test_two_runs_in_one_log_are_named(tmp_path):
    run = outcome(tmp_path, [*log_lines(minutes=30), *log_lines(minutes=20, start=1e5)])
    assert (run.converged, run.minutes) == (True, 30)
    assert run.anomalies == ("two runs in one log: the first counts",)


@pytest.mark.parametrize("division", ["closed", "open"])
def test_accuracy_in_percent_is_named(tmp_path, division):
    path = tmp_path / "result_0.txt"
    path.write_text("\n".join(log_lines(quality=[50, 76.1])))
    run = judge(read_log(path), V11, V11.task("resnet"), division)
    assert "accuracy 50: in percent? The rules want a fraction" in run.anomalies


@pytest.mark.parametrize("content", [b"", b"\0" * 5000, b"Non compliant run\n", b"\xff\xfe:\0:\0:\0"])
def test_a_file_without_events(tmp_path, content):
    path = tmp_path / "result_0.txt"
    path.write_bytes(content)
    assert judge(read_log(path), V11, V11.task("resnet"), "closed").reason == "no run_start"


@pytest.mark.parametrize(
    "number", ["1" * 400, "-" + "9" * 400, "1e308", '"1e400"', "Infinity", "true", "[0.8]"]
)
def test_absurd_numbers_are_no_quality(tmp_path, number):
    text = line("eval_accuracy", 61, 12345, epoch_num=777)
    lines = [*log_lines(quality=[]), text.replace("12345", number).replace("777", number)]
    assert outcome(tmp_path, lines).reason == "no evaluation"


@pytest.mark.parametrize(("division", "severity"), [("closed", "error"), ("open", "warning")])
def test_a_resumed_run_is_flagged_and_never_closed(tmp_path, division, severity):
    lines = log_lines(quality=[0.5, 0.8])
    resumed = [*lines[:-3], line("resumed", 700, 256_000, epoch_num=1), *lines[-3:]]
    run = outcome(tmp_path, resumed, division=division)
    assert run.converged == (division == "open")
    assert run.reason == ("resumed from a checkpoint" if division == "closed" else "")
    assert run.minutes == outcome(tmp_path, lines).minutes  # the clock went on
    assert "interrupted, and resumed from a checkpoint" in run.anomalies
    (tmp_path / "result_0.txt").write_text("\n".join(resumed).replace('"closed"', f'"{division}"') + "\n")
    found = {each.rule: each.severity for each in check_log(tmp_path / "result_0.txt", "v1.1")}
    assert found["run.resumed"] == severity
