"""Reading a problem's data from a JSON file that a user wrote."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from problems.errors import InstanceError

Data = TypeVar("Data", bound=BaseModel)


def read_instance(path: Path, kind: type[Data], what: str, needs: str = "", *, strict: bool = False) -> Data:
    """Return the data in a file.

    Args:
        path: the file.
        kind: its schema.
        what: how a message calls it.
        needs: what a message says that it needs.
        strict: take no text for a number.

    Raises:
        InstanceError: the file cannot be read or does not follow the schema.
    """
    try:
        return kind.model_validate_json(path.read_bytes(), strict=strict or None)
    except OSError as error:
        raise InstanceError(f"{path} cannot be read: {error.strerror}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the top level"
        raise InstanceError(f"the {what} in {path} is wrong at {where}: {first['msg']}{needs}") from error
