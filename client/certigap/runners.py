"""What does what flows ask for: `Sync` by blocking, `Async` with asyncio."""

from __future__ import annotations

from asyncio import sleep as sleep_async
from collections.abc import AsyncIterator, Iterator
from time import sleep
from typing import Any, TypeVar

import httpx

from certigap.errors import UsageError
from certigap.flow import Effect, Emit, Flow, Open, Progress, Read, Request, Send, Sleep, Stream

T = TypeVar("T")


class Sync:
    """Runs flows by blocking.

    Args:
        http: sends.
        retries: how often a request is sent again.
    """

    def __init__(self, http: httpx.Client, retries: int) -> None:
        self.http, self.retries = http, retries

    def run(self, flow: Flow[T]) -> T:
        """Run a flow and return its result."""
        progress, talk = Progress(flow), _SyncTalk(self.http)
        try:
            talk.go_on(progress)
        finally:
            progress.close()
            talk.hang_up()
        result: T = progress.result
        return result

    def iterate(self, stream: Stream[T]) -> Iterator[T]:
        """Run a stream as far as its values are asked for."""
        progress, talk = Progress(stream), _SyncTalk(self.http)
        try:
            while (emitted := talk.go_on(progress)) is not None:
                yield emitted.value
                progress.answer(None)
        finally:
            progress.close()
            talk.hang_up()


class Async:
    """Runs flows with asyncio.

    Args:
        http: sends.
        retries: how often a request is sent again.
    """

    def __init__(self, http: httpx.AsyncClient, retries: int) -> None:
        self.http, self.retries = http, retries

    async def run(self, flow: Flow[T]) -> T:
        """Run a flow and return its result."""
        progress, talk = Progress(flow), _AsyncTalk(self.http)
        try:
            await talk.go_on(progress)
        finally:
            progress.close()
            await talk.hang_up()
        result: T = progress.result
        return result

    async def iterate(self, stream: Stream[T]) -> AsyncIterator[T]:
        """Run a stream as far as its values are asked for."""
        progress, talk = Progress(stream), _AsyncTalk(self.http)
        try:
            while (emitted := await talk.go_on(progress)) is not None:
                yield emitted.value
                progress.answer(None)
        finally:
            progress.close()
            await talk.hang_up()


class _SyncTalk:
    """The requests of one flow, and the response that it reads piece by piece."""

    def __init__(self, http: httpx.Client) -> None:
        self._http = http
        self._open: httpx.Response | None = None
        self._pieces: Iterator[bytes] = iter(())

    def go_on(self, progress: Progress) -> Emit[Any] | None:
        """Do what is asked, up to the next value; None at the end."""
        while (effect := progress.effect) is not None:
            if isinstance(effect, Emit):
                return effect
            try:
                answer = self._do(effect)
            except Exception as error:
                progress.fail(error)
            else:
                progress.answer(answer)
        return None

    def _do(self, effect: Effect) -> object:
        match effect:
            case Send(request):
                self.hang_up()
                return self._http.send(_built(self._http, request))
            case Open(request):
                self.hang_up()
                response = self._open = self._http.send(_built(self._http, request), stream=True)
                if not response.is_success:
                    response.read()
                self._pieces = response.iter_bytes()
                return response
            case Read():
                return next(self._pieces, None)
            case Sleep(seconds):
                self.hang_up()
                sleep(seconds)
                return None

    def hang_up(self) -> None:
        """Close the response that is open."""
        if self._open is not None:
            self._open.close()
            self._open = None


class _AsyncTalk:
    """The requests of one flow, and the response that it reads piece by piece."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http
        self._open: httpx.Response | None = None
        self._pieces: AsyncIterator[bytes] | None = None

    async def go_on(self, progress: Progress) -> Emit[Any] | None:
        """Do what is asked, up to the next value; None at the end."""
        while (effect := progress.effect) is not None:
            if isinstance(effect, Emit):
                return effect
            try:
                answer = await self._do(effect)
            except Exception as error:
                progress.fail(error)
            else:
                progress.answer(answer)
        return None

    async def _do(self, effect: Effect) -> object:
        match effect:
            case Send(request):
                await self.hang_up()
                return await self._http.send(_built(self._http, request))
            case Open(request):
                await self.hang_up()
                response = self._open = await self._http.send(_built(self._http, request), stream=True)
                if not response.is_success:
                    await response.aread()
                self._pieces = response.aiter_bytes()
                return response
            case Read():
                return None if self._pieces is None else await anext(self._pieces, None)
            case Sleep(seconds):
                await self.hang_up()
                await sleep_async(seconds)
                return None

    async def hang_up(self) -> None:
        """Close the response that is open."""
        if self._open is not None:
            await self._open.aclose()
            self._open = None


def _built(http: httpx.Client | httpx.AsyncClient, request: Request) -> httpx.Request:
    timeout = http.timeout
    if request.silence is not None:
        timeout = httpx.Timeout(connect=timeout.connect, read=request.silence, write=timeout.write, pool=timeout.pool)
    try:
        return http.build_request(
            request.method,
            request.path,
            params=dict(request.params) or None,
            headers=dict(request.headers),
            json=request.json,
            content=request.content,
            files=None if request.files is None else dict(request.files),
            timeout=timeout,
        )
    except ValueError as error:
        raise UsageError(f"a number is not finite, or a value is none of JSON's: {error}") from error
