"""What the commands for a server share: how they reach it, and what its refusals mean to a shell."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from solvers.errors import CertigapError

if TYPE_CHECKING:
    from pydantic import BaseModel

    import certigap

# Exit codes of sysexits.h: usage, data, unavailable, software, come back later, permission.
USAGE, BAD_DATA, UNAVAILABLE, FAILED, LATER, NOT_ALLOWED = 64, 65, 69, 70, 75, 77

Server = Annotated[
    str | None,
    typer.Option(envvar="CERTIGAP_SERVER", help="The server's address.", show_default="http://127.0.0.1:8787"),
]
Key = Annotated[str | None, typer.Option("--api-key", envvar="CERTIGAP_API_KEY", help="Where the server asks for one.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")]


class RemoteError(CertigapError):
    """A server refused, or cannot be reached.

    Attributes:
        code: the command's exit code.
    """

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


@contextmanager
def connected(server: str | None, key: str | None) -> Iterator[certigap.Client]:
    """Give a client, and tell its errors as this command does.

    Raises:
        RemoteError: with the exit code that fits.
    """
    try:
        import certigap  # Nobody should wait for it, or need it, who works without a server.
    except ImportError as error:
        raise RemoteError(
            f"the client is not installed ({error}); pip install -e client, in the checkout", UNAVAILABLE
        ) from error
    try:
        with certigap.Client(server, key) as client:
            yield client
    except certigap.CertigapError as error:
        raise RemoteError(str(error), _code(error)) from error


def _code(error: certigap.CertigapError) -> int:
    import certigap

    match error:
        case certigap.UsageError():
            return USAGE
        case certigap.AuthenticationError() | certigap.ForbiddenError():
            return NOT_ALLOWED
        case certigap.RateLimitError() | certigap.WaitTimeout():
            return LATER
        case certigap.APIConnectionError() | certigap.ServerError():
            return UNAVAILABLE
        case certigap.APIStatusError():
            return BAD_DATA
    return FAILED


def say(model: BaseModel, as_json: bool, told: Callable[[], str]) -> None:
    """Print an answer, as JSON or in words."""
    print(model.model_dump_json() if as_json else told())
