"""How the click logs are indexed, split and shuffled."""

from __future__ import annotations

from pydantic import Field, NonNegativeInt, PositiveInt

from octathlon.settings import DatasetSettings, Pieces


class Settings(DatasetSettings):
    """The keys of mini.yaml and full.yaml."""

    days: Pieces = Field(description="archives day_0.gz, day_1.gz, ...; the last one is for evaluation")
    day_jobs: Pieces = Field(description="jobs that share the days; each is read once")
    max_ind_range: PositiveInt = Field(lt=2**31, description="categories' hashes are taken modulo this")
    buckets: Pieces = Field(description="training files; each must fit into memory to be shuffled")
    shuffle_seed: NonNegativeInt = Field(description="of the order of the training rows")
