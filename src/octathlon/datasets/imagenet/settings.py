"""How ImageNet is cut into jobs and files."""

from __future__ import annotations

from pydantic import Field, PositiveInt

from octathlon.settings import DatasetSettings


class Settings(DatasetSettings):
    """The keys of mini.yaml and full.yaml."""

    train_shards: PositiveInt = Field(description="groups of neighbouring synsets; each one job and one file")
    val_shards: PositiveInt = Field(description="runs of validation images; each one job and one file")
