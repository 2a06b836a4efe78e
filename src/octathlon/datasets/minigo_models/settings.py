"""What is prepared of the models and games that minigo starts from."""

from __future__ import annotations

from pydantic import Field, PositiveInt

from octathlon.settings import DatasetSettings


class Settings(DatasetSettings):
    """The keys of mini.yaml and full.yaml."""

    board_size: PositiveInt = Field(
        ge=2, le=19, description="lines of the board that models and games are for"
    )
