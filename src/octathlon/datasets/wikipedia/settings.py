"""How Wikipedia becomes training samples, and how that is cut into jobs and files."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, PositiveInt

from octathlon.settings import DatasetSettings, Pieces


class Settings(DatasetSettings):
    """The keys of mini.yaml and full.yaml."""

    miniature: dict[str, PositiveInt] = Field(
        description="articles of the dump, sizes of the checkpoint's model"
    )
    start: Literal["dump", "text"] = Field(
        description="dump: extract the articles; text: begin with the reference's finished parts and eval.txt"
    )
    checkpoint: bool = Field(description="convert the checkpoint that training continues from")
    extract_jobs: Pieces = Field(description="shares of the dump's bytes; each one job (start: dump)")
    file_bytes: PositiveInt = Field(description="limit of an extracted file (start: dump)")
    part_bytes: PositiveInt = Field(description="limit of a part, in bytes of extracted files (start: dump)")
    eval_articles: PositiveInt = Field(
        description="articles drawn for the evaluation set, from all files (start: dump)"
    )
    parts: Pieces = Field(description="parts of the text; each one job")
    shards_per_part: Pieces = Field(description="files of samples from each part")
    max_seq_length: int = Field(ge=8, description="tokens of the longest sample, with [CLS] and [SEP]")
    max_predictions: PositiveInt = Field(description="masked tokens of a sample, at most")
    dupe_factor: PositiveInt = Field(description="passes over the text, each with its own masks")
    eval_samples: PositiveInt = Field(description="samples of the evaluation set")
