"""How a method is written once as a flow and serves both clients: `@operation` and `@iteration`.

On a resource of `Client` such a method blocks and returns its result; on one of `AsyncClient` it is awaited.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from dataclasses import replace
from functools import wraps
from types import MethodType
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar, overload
from urllib.parse import quote

import httpx
from pydantic import BaseModel

from certigap.exchange import exchange, parsed
from certigap.flow import Emit, Flow, Request, Stream
from certigap.models import Page
from certigap.runners import Async, Sync

P = ParamSpec("P")
T = TypeVar("T")
Runner = TypeVar("Runner", bound=Sync | Async)
Model = TypeVar("Model", bound=BaseModel)


def segment(id: str) -> str:
    """Return an id as a part of a path: one that holds a slash names nothing else."""
    return quote(id, safe="")


class Resource(Generic[Runner]):
    """A part of the API; its operations run as its runner does."""

    def __init__(self, runner: Runner) -> None:
        self.runner = runner

    def fetch(self, request: Request) -> Flow[httpx.Response]:
        """Return the response of a request, inside a flow."""
        return exchange(request, self.runner.retries)

    def ask(self, request: Request, model: type[Model]) -> Flow[Model]:
        """Return the answer to a request, inside a flow."""
        response = yield from exchange(request, self.runner.retries)
        return parsed(response, model)

    def pages(self, request: Request, model: type[Model]) -> Stream[Model]:
        """Emit what a list holds, inside a stream; its next page is asked for when the last one is used up."""
        asked = dict(request.params)
        while True:
            page = yield from self.ask(replace(request, params=asked), Page[model])  # type: ignore[valid-type]
            for item in page.data:
                yield Emit(item)
            if page.next_cursor is None:
                return
            asked["cursor"] = page.next_cursor


class operation(Generic[P, T]):  # noqa: N801 (a decorator)
    """Makes a method of a flow.

    Attributes:
        flow: the function, for use inside other flows.
    """

    def __init__(self, flow: Callable[Concatenate[Any, P], Flow[T]]) -> None:
        self.flow = flow
        self.__doc__ = flow.__doc__

    @overload
    def __get__(self, resource: None, owner: object) -> operation[P, T]: ...
    @overload
    def __get__(self, resource: Resource[Sync], owner: object) -> Callable[P, T]: ...
    @overload
    def __get__(self, resource: Resource[Async], owner: object) -> Callable[P, Coroutine[Any, Any, T]]: ...
    def __get__(self, resource: Any, owner: object) -> Any:
        if resource is None:
            return self

        @wraps(MethodType(self.flow, resource))
        def run(*args: P.args, **kwargs: P.kwargs) -> Any:
            return resource.runner.run(self.flow(resource, *args, **kwargs))

        return run


class iteration(Generic[P, T]):  # noqa: N801 (a decorator)
    """Makes a method that iterates of a stream.

    Attributes:
        flow: the function, for use inside other flows.
    """

    def __init__(self, flow: Callable[Concatenate[Any, P], Stream[T]]) -> None:
        self.flow = flow
        self.__doc__ = flow.__doc__

    @overload
    def __get__(self, resource: None, owner: object) -> iteration[P, T]: ...
    @overload
    def __get__(self, resource: Resource[Sync], owner: object) -> Callable[P, Iterator[T]]: ...
    @overload
    def __get__(self, resource: Resource[Async], owner: object) -> Callable[P, AsyncIterator[T]]: ...
    def __get__(self, resource: Any, owner: object) -> Any:
        if resource is None:
            return self

        @wraps(MethodType(self.flow, resource))
        def iterate(*args: P.args, **kwargs: P.kwargs) -> Any:
            return resource.runner.iterate(self.flow(resource, *args, **kwargs))

        return iterate
