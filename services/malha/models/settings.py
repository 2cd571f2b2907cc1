"""Where models lie."""

from pathlib import Path

from pydantic import Field

from malha.runtime.settings import MalhaSettings


class ModelSettings(MalhaSettings):
    """Settings of whatever reads models."""

    models_dir: Path | None = Field(
        None, description="Where models lie. Default: /srv/models when present, else the data directory's models."
    )
