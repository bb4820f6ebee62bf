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
    """What an operator may choose.

    Attributes:
        data_dir: the SQLite file and the blobs, where no other place is named.
        database_url: `sqlite:///...` or `postgresql+psycopg://...`; default: a SQLite file in `data_dir`.
        blobs_url: `file:///...` or `s3://bucket/prefix`; default: a folder in `data_dir`.
        host, port: where the API listens.
        keys: whether callers need a key; "auto": not on loopback.
        log_format: of the service's log; "auto": text on a terminal.
        queues: what a worker listens to; with commas, as CERTIGAP_QUEUES=cpu,gpu.
        slot: names the place of a worker that no two have at once; one that starts there takes over at once.
        cores: of this worker, for jobs that leave the number of processes open; 0 for all.
        concurrency: jobs that a worker runs at once.
        gurobi_licences, gpus: how many jobs may use one at once, over all workers.
    """

    model_config = SettingsConfigDict(env_prefix="CERTIGAP_", extra="forbid")

    data_dir: Path = Field(default_factory=lambda: Path(user_data_dir("certigap")))
    database_url: str = ""
    blobs_url: str = ""
    host: str = "127.0.0.1"
    port: int = 8787
    keys: Literal["auto", "on", "off"] = "auto"
    log_format: Literal["auto", "json", "text"] = "auto"
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    queues: Annotated[tuple[Literal["cpu", "gpu", "gurobi"], ...], NoDecode] = ("cpu", "gpu", "gurobi")
    slot: str = ""
    cores: int = Field(0, ge=0)
    concurrency: int = Field(1, ge=1)
    gurobi_licences: int = Field(1, ge=1)
    gpus: int = Field(1, ge=1)

    # Limits of one tenant, unless its row says otherwise.
    active_jobs: int = Field(500, ge=1)
    requests_per_minute: int = Field(6000, ge=1)
    proxies: int = Field(10_000, ge=1)
    problems: int = Field(10_000, ge=1)
    # Limits of everybody together.
    queue_length: int = Field(10_000, ge=1)

    # Limits of one request; bytes and seconds.
    largest_upload: int = Field(2**29, ge=2**20, description="A model file; see proxies.onnx_scan.")
    largest_case: int = Field(2**26, ge=2**16, description="A MATPOWER case file.")
    largest_json: int = Field(2**22, ge=2**10, description="Any other body, but for the next.")
    largest_numbers: int = Field(2**25, ge=2**16, description="The body of a certificate, or of a layer's call.")
    largest_layer: int = Field(1_000_000, ge=1000, description="Numbers that a layer's call may hold.")
    layer_seconds: float = Field(30.0, gt=0)
    check_seconds: float = Field(120.0, gt=0, description="For checking a certificate.")
    inspect_seconds: float = Field(30.0, gt=0, description="For reading an uploaded file.")
    inspect_memory: int = Field(4 * 2**30, ge=2**28, description="For reading an uploaded file, and the two above.")
    children: int = Field(4, ge=1, description="Files read and layers solved at once.")
    stream_seconds: float = Field(300.0, gt=0, description="After which a stream of events ends; callers reconnect.")

    # Limits of a job's child process.
    job_memory: int = Field(16 * 2**30, ge=2**30, description="Bytes of address space or data.")
    file_size: int = Field(2**30, ge=2**20, description="Bytes of the largest file it may write.")
    grace: float = Field(1.0, gt=0, description="Seconds to hand in bounds after a cancel, before it is killed.")
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
