"""Which archives LibriSpeech is made of here, and how it is prepared."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from octathlon.settings import DatasetSettings

Part = Annotated[str, Field(pattern=r"^[a-z]+(-[a-z0-9]+)+$")]


class Settings(DatasetSettings):
    """The keys of mini.yaml and full.yaml."""

    miniature: dict[str, Annotated[int, Field(gt=0, le=500)]] = Field(description="speakers and utterances")
    train_parts: list[Part] = Field(min_length=1, description="archives to train on, without .tar.gz")
    eval_part: Part = Field(description="archive to evaluate on, without .tar.gz")
    vocabulary: PositiveInt = Field(
        le=1 << 16, description="sentencepiece's pieces, the unknown one included"
    )
    max_duration_s: PositiveFloat = Field(description="longer training utterances are left out")

    @model_validator(mode="after")
    def _each_part_once(self) -> Settings:
        if len({*self.train_parts, self.eval_part}) <= len(self.train_parts):
            raise ValueError("a part stands twice in train_parts and eval_part: give each once")
        return self
