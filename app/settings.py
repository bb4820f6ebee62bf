"""The service's settings, from the environment (CERTIGAP_...) or the command line."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal

from platformdirs import user_data_dir
from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

LOOPBACK = ("127.0.0.1", "::1", "localhost")


class Settings(BaseSettings):
    """What an operator may choose; `docs/deployment.md` shows this as a table."""

    model_config = SettingsConfigDict(env_prefix="CERTIGAP_", extra="forbid")

    data_dir: Path = Field(
        default_factory=lambda: Path(user_data_dir("certigap")),
        description="Folder of the SQLite file and the blobs, where no other place is named; default: the platform's.",
    )
    database_url: str = Field(
        "", description="`sqlite:///FILE` or `postgresql+psycopg://...`; default: a SQLite file in the data folder."
    )
    blobs_url: str = Field(
        "", description="`file:///FOLDER` or `s3://BUCKET/PREFIX`; default: a folder in the data folder."
    )
    host: str = Field("127.0.0.1", description="Address that the API listens on.")
    port: int = Field(8787, description="Port that the API listens on; 0 for any free one.")
    keys: Literal["auto", "on", "off"] = Field("auto", description="Whether callers need a key; auto: not on loopback.")
    log_format: Literal["auto", "json", "text"] = Field("auto", description="Of the log; auto: text on a terminal.")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="What is logged, and above.")
    queues: Annotated[tuple[Literal["cpu", "gpu", "gurobi"], ...], NoDecode] = Field(
        ("cpu", "gpu", "gurobi"), description="What a worker takes jobs from, with commas."
    )
    slot: str = Field(
        "", description="Place of a worker that no two have at once; one that starts there takes over at once."
    )
    cores: int = Field(0, ge=0, description="Processes of a job that leaves the number open; 0: all of the machine.")
    concurrency: int = Field(1, ge=1, description="Jobs that a worker runs at once.")
    gurobi_licences: int = Field(1, ge=1, description="Jobs that may use Gurobi at once, over all workers.")
    gpus: int = Field(1, ge=1, description="Jobs that may use a GPU at once, over all workers.")

    # Limits of one tenant, unless its row says otherwise.
    active_jobs: int = Field(500, ge=1, description="Jobs of one tenant that are queued or running.")
    requests_per_minute: int = Field(6000, ge=1, description="Requests of one key to one server.")
    proxies: int = Field(10_000, ge=1, description="Proxies that one tenant keeps.")
    problems: int = Field(10_000, ge=1, description="Problems that one tenant keeps.")
    # Limits of everybody together.
    queue_length: int = Field(10_000, ge=1, description="Jobs of all tenants that are queued or running.")

    # Limits of one request; bytes and seconds.
    largest_upload: int = Field(2**29, ge=2**20, description="Bytes of a model file.")
    largest_case: int = Field(2**26, ge=2**16, description="Bytes of a MATPOWER case file.")
    largest_numbers: int = Field(2**25, ge=2**16, description="Bytes of a certificate, or of a layer's call.")
    largest_json: int = Field(2**22, ge=2**10, description="Bytes of any other body.")
    largest_layer: int = Field(1_000_000, ge=1000, description="Numbers that a layer's call may hold.")
    layer_seconds: float = Field(30.0, gt=0, description="Seconds for a layer's call.")
    check_seconds: float = Field(120.0, gt=0, description="Seconds for checking a certificate.")
    inspect_seconds: float = Field(30.0, gt=0, description="Seconds for reading an uploaded file.")
    inspect_memory: int = Field(4 * 2**30, ge=2**28, description="Bytes of memory for each of these three.")
    children: int = Field(4, ge=1, description="How many of these three run at once.")
    stream_seconds: float = Field(300.0, gt=0, description="Seconds until a stream of events ends; callers reconnect.")

    # Limits of a job's child process.
    job_memory: int = Field(16 * 2**30, ge=2**30, description="Bytes of memory for each process of a job.")
    file_size: int = Field(2**30, ge=2**20, description="Bytes of the largest file that a job may write.")
    grace: float = Field(1.0, gt=0, description="Seconds for a cancelled job to hand in bounds before it is killed.")
    attempts: int = Field(5, ge=1, description="Attempts after which a job that kills its workers is given up.")
    result_days: float = Field(90.0, gt=0, description="Days that results are kept.")

    @field_validator("queues", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(value.split(",")) if isinstance(value, str) else value

    @property
    def asks_for_keys(self) -> bool:
        """Whether callers need a key."""
        return self.keys == "on" or (self.keys == "auto" and self.host not in LOOPBACK)

    @property
    def processes(self) -> int:
        """How many processes a job of this worker may have, where it does not say."""
        return self.cores or len(os.sched_getaffinity(0))

    @property
    def database(self) -> str:
        return self.database_url or f"sqlite:///{self.data_dir / 'certigap.db'}"

    @property
    def blobs(self) -> str:
        return self.blobs_url or (self.data_dir / "blobs").absolute().as_uri()
