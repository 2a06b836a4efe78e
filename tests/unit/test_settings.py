"""What settings a run and a preparation depend on, and how batches are shared out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from octathlon.config import resolve
from octathlon.errors import OctathlonError
from octathlon.settings import BenchmarkSettings, DatasetSettings


def settings(**over: object) -> BenchmarkSettings:
    return resolve("benchmarks", "resnet", "mini", over)


@given(world=st.integers(1, 16), steps=st.integers(1, 8), local=st.integers(1, 64))
def test_local_batches_add_up_to_the_global_one(world: int, steps: int, local: int) -> None:
    chosen = settings(global_batch_size=world * steps * local, gradient_accumulation_steps=steps)
    assert chosen.local_batch_size(world) == local


def test_a_batch_that_does_not_divide_is_refused_with_a_remedy() -> None:
    chosen = settings(global_batch_size=100, gradient_accumulation_steps=4)
    with pytest.raises(
        OctathlonError, match="100 does not divide into 8 ranks x 4 .*: choose a multiple of 32"
    ):
        chosen.local_batch_size(8)


def test_one_more_run_changes_nothing_that_a_run_depends_on() -> None:
    assert settings(runs=5).training() == settings(runs=6).training()
    assert settings(width=8).training() != settings(width=16).training()
    assert set(settings().training()) == set(settings().model_dump()) - {"runs"}


def test_the_source_changes_nothing_that_the_preparation_depends_on() -> None:
    """The archives' receipts tell whether their content changed."""
    drawn = resolve("datasets", "imagenet", "mini", {"source": "miniature"})
    over = {"source": "/data", "archive_sources": {"ILSVRC2012_img_val.tar": "upstream"}}
    given_ = resolve("datasets", "imagenet", "mini", over | {"miniature": {"train_per_class": 9}})
    assert drawn.preparation() == given_.preparation() == {"train_shards": 2, "val_shards": 1}


def test_an_archive_can_have_a_source_of_its_own() -> None:
    over = {"source": "/data", "archive_sources": {"R-50.pkl": "miniature"}}
    chosen = resolve("datasets", "coco", "mini", over)
    assert chosen.source_of("R-50.pkl") == "miniature"
    assert chosen.source_of("train2017.zip") == "/data"


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_no_number_is_infinite(number: float) -> None:
    with pytest.raises(ValidationError, match="finite number"):
        BenchmarkSettings(
            **settings().model_dump(include=set(BenchmarkSettings.model_fields)) | {"target": {"a": number}}
        )


def test_settings_are_frozen_and_know_their_keys() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        settings().runs = 3
    with pytest.raises(ValidationError, match="Extra inputs"):
        DatasetSettings(source="miniature", sauce="x")


def test_images_of_any_shape_are_compiled_with_their_channels_last() -> None:
    over = {"compile": "default", "channels_last": False}
    with pytest.raises(OctathlonError, match="compile.*channels_last to true, or compile to none"):
        resolve("benchmarks", "maskrcnn", "full", over)
    assert resolve("benchmarks", "resnet", "full", over).compile == "default"
