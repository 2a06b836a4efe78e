"""What is said of the scores before anything runs."""

import pytest

from octathlon.scoring.plan import without_score


def test_runs_enough_for_a_score_give_no_word():
    assert list(without_score({"dlrm": 3, "unet3d": 40, "bert": 10, "minigo": 12, "a tenth one": 1})) == []


@pytest.mark.parametrize("count", [1, 2])
def test_too_few_runs_are_named_with_what_follows(count):
    (words,) = without_score({"dlrm": count, "resnet": 5, "unet3d": count})
    assert words == (
        f"no score will come of dlrm, unet3d: too few runs ({count}) to drop 1 at each end; "
        "raise `runs` if you want one"
    )


def test_each_reason_has_a_sentence():
    assert len(list(without_score({"dlrm": 1, "resnet": 2}))) == 2
