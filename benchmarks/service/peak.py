"""What `hostile` runs in the sandbox's child; it imports nothing that the child does not have already."""

from __future__ import annotations

import resource
from typing import Any

from app import inspect


def peak(spec: dict[str, Any]) -> dict[str, Any]:
    """Read an upload, whatever comes of it, and tell the peak of this process' resident memory in MB.

    Args:
        spec: as for a function of `app.inspect`, whose name it has as `function`.
    """
    told = "accepted"
    try:
        getattr(inspect, spec["function"])(spec)
    except Exception as error:  # Whatever it is: the memory is the question here.
        told = type(error).__name__
    return {"megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, "told": told}
