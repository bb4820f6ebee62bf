"""`certigap worker`: take jobs from the queue of a database, until told to stop."""

from __future__ import annotations

import signal
import threading
from typing import Annotated

import typer

from app import logs
from app.settings import Settings
from solvers.errors import CertigapError


class SettingsError(CertigapError, ValueError):
    """A setting makes no sense."""


def worker(
    queues: Annotated[str, typer.Option(help="Queues to serve: cpu, gpu, gurobi, with commas.")] = "",
    concurrency: Annotated[int, typer.Option(help="Jobs at once; 0: as CERTIGAP_CONCURRENCY says.")] = 0,
    cores: Annotated[int, typer.Option(help="Processes a job, where it does not say; 0: as CERTIGAP_CORES says.")] = 0,
) -> None:
    """Work for the service whose database CERTIGAP_DATABASE_URL or CERTIGAP_DATA_DIR names."""
    from app.jobs.worker import work  # Loads DBOS, which the other commands need not wait for.

    chosen: dict[str, object] = {"queues": tuple(queues.split(",")) if queues else None}
    chosen |= {"concurrency": concurrency or None, "cores": cores or None}
    settings = read_settings(**{name: value for name, value in chosen.items() if value is not None})
    logs.configure(settings)
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    work(settings, stop)


def read_settings(**chosen: object) -> Settings:
    """Return the settings of the environment, with what was chosen on the command line.

    Raises:
        SettingsError: a value makes no sense.
    """
    try:
        return Settings.model_validate({**Settings().model_dump(exclude_unset=True), **chosen})
    except ValueError as error:
        raise SettingsError(f"a setting is wrong: {error}") from error
