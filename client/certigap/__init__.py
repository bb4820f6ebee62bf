"""Client of a Certigap server: certified worst-case optimality gaps of trained optimization proxies."""

from certigap.client import AsyncClient, Client
from certigap.errors import (
    APIConnectionError,
    APIError,
    APIResponseError,
    APIStatusError,
    APITimeoutError,
    AuthenticationError,
    BadRequestError,
    CertigapError,
    ConflictError,
    ForbiddenError,
    GoneError,
    JobFailedError,
    NotFoundError,
    RateLimitError,
    ServerError,
    TooLargeError,
    UnprocessableError,
    UnsupportedFormatError,
    UsageError,
    WaitTimeout,
)
from certigap.models import Event, Job, Problem, Proxy, Result
from certigap.requests import (
    AttackJob,
    BoundsJob,
    EvaluateJob,
    JobRequest,
    Options,
    SweepJob,
    TrainJob,
    VerifyJob,
)
from certigap.runners import Async, Sync
from certigap.verification import Verification
from certigap.version import VERSION

__version__ = VERSION

__all__ = [
    "APIConnectionError",
    "APIError",
    "APIResponseError",
    "APIStatusError",
    "APITimeoutError",
    "Async",
    "AsyncClient",
    "AttackJob",
    "AuthenticationError",
    "BadRequestError",
    "BoundsJob",
    "CertigapError",
    "Client",
    "ConflictError",
    "EvaluateJob",
    "Event",
    "ForbiddenError",
    "GoneError",
    "Job",
    "JobFailedError",
    "JobRequest",
    "NotFoundError",
    "Options",
    "Problem",
    "Proxy",
    "RateLimitError",
    "Result",
    "ServerError",
    "SweepJob",
    "Sync",
    "TooLargeError",
    "TrainJob",
    "UnprocessableError",
    "UnsupportedFormatError",
    "UsageError",
    "Verification",
    "VerifyJob",
    "WaitTimeout",
]
