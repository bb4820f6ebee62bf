"""The service on a real port, for what an in-process client cannot see: streams that are not over."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import uvicorn

from app.main import create_app
from tests.app.api.conftest import World


@dataclass(frozen=True)
class Live:
    """Where the service listens."""

    url: str


@contextmanager
def live(world: World) -> Iterator[Live]:
    """Serve a world's database over HTTP, from a second application in a thread."""
    settings = world.state.settings.model_copy(update={"stream_seconds": 20.0})
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(create_app(settings), log_level="error"))
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        try:
            while not server.started:
                assert thread.is_alive()
                time.sleep(0.01)
            yield Live(f"http://127.0.0.1:{listener.getsockname()[1]}")
        finally:
            server.should_exit = True
            thread.join(20)
