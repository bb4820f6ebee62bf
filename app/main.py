"""The service as an ASGI application."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

from dbos import DBOSClient
from fastapi import FastAPI

from app import logs
from app.api import certificates, errors, events, jobs, layers, operation, outcomes, problems, proxies
from app.api.children import Children
from app.api.metrics import Metrics
from app.api.middleware import Around
from app.api.schema import describe
from app.api.state import State, rate_limiter
from app.api.watch import Watch
from app.jobs.queue import open_queue
from app.sandbox import warm_up
from app.settings import Settings
from app.store.blobs import Blobs
from app.store.database import open_database

DESCRIPTION = "Certified worst-case optimality gaps of trained optimization proxies."


def create_app(settings: Settings | None = None) -> FastAPI:
    """Return the application; its database must have been migrated (`app.store.migrate.migrate`).

    Args:
        settings: what the operator chose; from the environment where None.
    """
    settings = settings or Settings()
    logs.configure(settings)
    app = FastAPI(
        title="Certigap",
        description=DESCRIPTION,
        version=version("certigap-server"),
        lifespan=_lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.settings = settings
    routers = [part.router for part in (proxies, problems, jobs, events, outcomes, certificates, layers, operation)]
    app.state.routes = [route for router in routers for route in router.routes]
    for router in routers:
        app.include_router(router)
    app.add_middleware(Around, settings=settings)
    errors.install(app)
    describe(app)
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    settings: Settings = app.state.settings
    warm_up("app.inspect", "app.layer_calls")
    engine = open_database(settings.database)
    queue: DBOSClient = open_queue(engine)
    watch = Watch(engine)
    app.state.service = State(
        settings=settings,
        engine=engine,
        blobs=Blobs(settings.blobs),
        children=Children(settings.children),
        queue=queue,
        watch=watch,
        rates=rate_limiter(),
        metrics=Metrics(),
        cache={},
        in_flight=set(),
    )
    looking = asyncio.create_task(watch.run())
    # The first child waits seconds for what all of them import: let that be nobody's request.
    warming = asyncio.create_task(asyncio.to_thread(operation.warm, app.state.service))
    try:
        yield
    finally:
        warming.cancel()
        looking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await looking
        queue.destroy()
        engine.dispose()
