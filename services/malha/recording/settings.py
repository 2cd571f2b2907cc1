"""Settings of recording. Whether a tenant's calls are recorded, and how long that is kept, is in the tenant's settings."""

from pathlib import Path
from urllib.parse import urlsplit

from pydantic import AliasChoices, Field, field_validator

from malha.runtime.settings import MalhaSettings


class RecordingSettings(MalhaSettings):
    """Where recordings lie, and how much may wait to be written."""

    blob_url: str = Field(
        "", description="Where recordings lie: s3://BUCKET/PREFIX, or file:///DIRECTORY. Empty: recordings/ in the data directory."
    )
    blob_s3_endpoint: str = Field("", description="The S3-compatible store, such as http://127.0.0.1:9000. Empty: AWS in its region.")
    blob_s3_region: str = Field(
        "us-east-1",
        validation_alias=AliasChoices("MALHA_BLOB_S3_REGION", "AWS_REGION", "blob_s3_region"),
        description="Region of the bucket.",
    )
    blob_s3_access_key: str = Field(
        "",
        validation_alias=AliasChoices("MALHA_BLOB_S3_ACCESS_KEY", "AWS_ACCESS_KEY_ID", "blob_s3_access_key"),
        description="Access key of the store.",
    )
    blob_s3_secret_key_file: Path | None = Field(None, description="File with the secret key of the store.")
    blob_s3_secret_key: str = Field(
        "",
        repr=False,
        validation_alias=AliasChoices("AWS_SECRET_ACCESS_KEY", "blob_s3_secret_key"),
        description="The secret key, where no file is given.",
    )
    blob_seconds: float = Field(30.0, gt=0, le=600, description="How long storing or fetching a file may take.")
    recording_key_file: Path | None = Field(
        None, description="The key that wraps conversations' keys; the same on every machine. Empty: recording.key in the data directory."
    )
    recording_bits_per_second: int = Field(24_000, ge=6_000, le=256_000, description="Of a channel.")
    recording_checkpoint_seconds: float = Field(
        15.0,
        ge=1,
        le=60,
        description="A process that is killed takes along so much of each recording, and a second more; a file is a minute anyway.",
    )
    recording_waiting_seconds: float = Field(
        600.0, gt=0, description="Audio of all calls together that may wait to be encoded; what comes beyond is dropped and counted."
    )

    @field_validator("blob_url")
    @classmethod
    def _check(cls, value: str) -> str:
        parts = urlsplit(value)
        if value and not ((parts.scheme == "s3" and parts.netloc) or (parts.scheme == "file" and parts.path)):
            raise ValueError("must be s3://BUCKET/PREFIX or file:///DIRECTORY")
        return value
