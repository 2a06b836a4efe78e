"""What benchmarks train, and when it became something else."""

import pytest

from octathlon.scoring.rules import load_round
from octathlon.scoring.tasks import changes, facts, first_name


@pytest.mark.parametrize(
    ("old_name", "old", "new_name", "new", "why"),
    [
        ("resnet", "v0.5", "resnet", "v0.6", ["another target: accuracy 0.759 instead of accuracy 0.749"]),
        ("resnet", "v0.6", "resnet", "v4.0", []),
        ("transformer", "v0.6", "transformer", "v0.7", []),  # 25 BLEU, then 0.25
        ("minigo", "v0.6", "minigo", "v1.1", ["a board of 19x19 points instead of 9x9"]),
        ("ssd", "v2.0", "retinanet", "v5.1", []),
        ("gnn", "v4.0", "rgat", "v5.0", []),
    ],
)
def test_why_rounds_cannot_be_compared(old_name, old, new_name, new, why):
    assert changes(old_name, load_round(old), new_name, load_round(new)) == why


def test_a_changed_model_and_a_changed_target_are_both_said():
    why = changes("ssd", load_round("v1.1"), "ssd", load_round("v2.0"))
    assert len(why) == 2 and "RetinaNet" in why[0] and "mAP 0.34 instead of mAP 0.23" in why[1]


def test_facts_of_a_task_hold_from_a_round_on():
    sizes = [facts("ssd", load_round(name)).get("epoch_samples") for name in ("v1.1", "v2.0", "v4.1")]
    assert sizes == [117_266, 1_170_301, 1_170_301]
    assert first_name("retinanet") == "ssd"
    assert facts("bert", load_round("v1.1")) == {}
