"""Where the database is, and how long it may take."""

from urllib.parse import quote, urlsplit

from pydantic import AliasChoices, Field, field_validator

from malha.runtime.settings import MalhaSettings


class StoreSettings(MalhaSettings):
    """PostgreSQL 15 or later. Without a URL and without ``POSTGRES_HOST``, `malha up` runs an embedded one."""

    database_url: str = Field("", repr=False, description="postgresql://USER:PASSWORD@HOST:PORT/NAME. Empty: the embedded PostgreSQL.")
    database_direct_url: str = Field("", repr=False, description="The same database past a pooler, for what needs a session of its own.")
    database_owner_url: str = Field(
        "", repr=False, description="A login that may migrate: superuser, or CREATEROLE and the database's owner."
    )
    database_pooler: bool = Field(
        default=False, description="Whether MALHA_DATABASE_URL leads to a pooler in transaction mode, such as PgBouncer."
    )
    database_pool_size: int = Field(10, ge=1, le=1000, description="Connections a process opens at most.")
    database_connect_seconds: float = Field(5.0, gt=0, le=300, description="How long connecting may take.")
    database_acquire_seconds: float = Field(
        5.0, gt=0, le=300, description="How long a transaction may wait for a connection, a restart of PostgreSQL included."
    )
    database_statement_seconds: float = Field(10.0, gt=0, le=3600, description="How long a statement may take.")
    postgres_host: str = Field(
        "", validation_alias=AliasChoices("POSTGRES_HOST", "postgres_host"), description="Host, where MALHA_DATABASE_URL is empty."
    )
    postgres_port: int = Field(
        5432, ge=1, le=65535, validation_alias=AliasChoices("POSTGRES_PORT", "postgres_port"), description="Port of POSTGRES_HOST."
    )
    postgres_user: str = Field(
        "malha", validation_alias=AliasChoices("POSTGRES_USER", "postgres_user"), description="Login on POSTGRES_HOST."
    )
    postgres_password: str = Field(
        "",
        repr=False,
        validation_alias=AliasChoices("POSTGRES_PASSWORD", "postgres_password"),
        description="Password of POSTGRES_USER.",
    )
    postgres_db: str = Field("malha", validation_alias=AliasChoices("POSTGRES_DB", "postgres_db"), description="Database on POSTGRES_HOST.")

    @field_validator("database_url", "database_direct_url", "database_owner_url")
    @classmethod
    def _check(cls, value: str) -> str:
        parts = urlsplit(value)
        if value and (parts.scheme not in {"postgresql", "postgres"} or parts.port == 0):  # asking for the port checks it
            raise ValueError("must be a URL such as postgresql://USER:PASSWORD@HOST:PORT/NAME")
        return value

    @property
    def url(self) -> str:
        """Where services connect; empty: to the embedded PostgreSQL."""
        if self.database_url or not self.postgres_host:
            return self.database_url
        login = f"{quote(self.postgres_user, safe='')}:{quote(self.postgres_password, safe='')}"
        return f"postgresql://{login}@{self.postgres_host}:{self.postgres_port}/{quote(self.postgres_db, safe='')}"

    @property
    def direct_url(self) -> str:
        """The database without a pooler between."""
        return self.database_direct_url or self.url

    @property
    def owner_url(self) -> str:
        """Where migrations connect."""
        return self.database_owner_url or self.direct_url
