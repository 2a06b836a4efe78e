"""Which cases of KiTS19 are used, and how they are cut into jobs and files."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, PositiveInt, model_validator

from octathlon.settings import DatasetSettings

Numbers = Annotated[tuple[Annotated[int, Field(ge=0, le=99_999)], ...], Field(min_length=1)]


class Settings(DatasetSettings):
    """The keys of mini.yaml and full.yaml."""

    miniature: dict[str, Annotated[int, Field(gt=0, le=1000)]] = Field(description="cases")
    train_cases: Numbers = Field(description="numbers of the cases that are trained on")
    eval_cases: Numbers = Field(description="numbers of the cases that the quality is measured on")
    cases_per_job: PositiveInt = Field(description="cases of one preparation job and one file")
    least_size: PositiveInt = Field(description="voxels that each axis is padded to, if it has fewer")
    published_checksums: bool = Field(
        description="true: labels must equal the reference's prepared ones (upstream's cases only)"
    )

    @model_validator(mode="after")
    def _no_case_twice(self) -> Settings:
        numbers = self.train_cases + self.eval_cases
        if twice := sorted({number for number in numbers if numbers.count(number) > 1}):
            raise ValueError(f"case {twice[0]} stands twice in train_cases and eval_cases")
        return self
