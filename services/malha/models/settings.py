"""Where models lie."""

from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, Field

from malha.runtime.settings import MalhaSettings


class ModelSettings(MalhaSettings):
    """Settings of whatever reads models."""

    models_dir: Annotated[Path | None, BeforeValidator(lambda given: given or None)] = Field(
        None, description="Where models lie. Default: /srv/models when present, else the data directory's models."
    )
