"""How ImageNet is cut into jobs and files."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from octathlon.settings import DatasetSettings, Pieces


class Settings(DatasetSettings):
    """The keys of mini.yaml and full.yaml."""

    miniature: dict[str, Annotated[int, Field(gt=2, le=32_000)]] = Field(description="pictures of a class")
    train_shards: Pieces = Field(description="groups of neighbouring synsets; each one job and one file")
    val_shards: Pieces = Field(description="runs of validation images; each one job and one file")
