"""How COCO is cut into jobs and files."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from octathlon.settings import DatasetSettings, Pieces


class Settings(DatasetSettings):
    """The keys of mini.yaml and full.yaml."""

    miniature: dict[str, Annotated[int, Field(gt=3, le=100_000)]] = Field(description="pictures of a split")
    train_shards: Pieces = Field(description="runs of training images by id; each one job and one file")
    val_shards: Pieces = Field(description="runs of evaluation images by id; each one job and one file")
