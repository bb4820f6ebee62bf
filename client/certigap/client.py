"""`Client` and `AsyncClient`: one base, two ways to run it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Unpack

import httpx

from certigap.errors import APIError, JobFailedError, UsageError
from certigap.flow import Flow, Request
from certigap.models import Problem, Proxy
from certigap.operation import Resource, Runner, operation
from certigap.progress import Progress
from certigap.requests import InputUnit, Options, OutputUnit, VerifyJob
from certigap.resources.certificates import Certificates
from certigap.resources.jobs import Jobs
from certigap.resources.layers import Layers
from certigap.resources.problems import Problems
from certigap.resources.proxies import Proxies
from certigap.resources.solvers import Solvers
from certigap.runners import Async, Sync
from certigap.verification import Verification
from certigap.version import VERSION

DEFAULT_SERVER = "http://127.0.0.1:8787"
# Seconds: a large upload or a synchronous layer takes its time, a connection does not.
TIMEOUT = httpx.Timeout(600.0, connect=5.0)
RETRIES = 2
Model = str | os.PathLike[str] | bytes | Proxy
Case = str | os.PathLike[str] | Mapping[str, Any] | Problem


class BaseClient(Resource[Runner]):
    """The API's resources, and `verify` over them."""

    def __init__(self, runner: Runner) -> None:
        super().__init__(runner)
        self.proxies = Proxies(runner)
        self.problems = Problems(runner)
        self.jobs = Jobs(runner)
        self.certificates = Certificates(runner)
        self.layers = Layers(runner)
        self.solvers = Solvers(runner)

    @operation
    def ready(self) -> Flow[bool]:
        """Whether the server answers and has its database."""
        try:
            yield from self.fetch(Request("GET", "/readyz"))
        except APIError:
            return False
        return True

    @operation
    def verify(
        self,
        model: Model,
        case: Case | None = None,
        *,
        u: float = 0.05,
        input_unit: InputUnit | None = None,
        output_unit: OutputUnit | None = None,
        manifest: Mapping[str, Any] | None = None,
        timeout: float | None = None,
        progress: Progress = "auto",
        **options: Unpack[Options],
    ) -> Flow[Verification[Runner]]:
        """Upload a proxy, verify it, wait, and return what is known.

        Args:
            model: an ONNX or safetensors file, its bytes, or an uploaded proxy or its id.
            case: a PGLib name, a `.m` file, a knapsack instance, a sample to classify, or a problem or its id;
                default: what the proxy's manifest names.
            u: half-width of the inputs' range; 0.05 is 5 %.
            input_unit, output_unit: of the network, instead of the manifest's.
            manifest: see `proxies.upload`.
            timeout: seconds to wait; None for as long as it takes.
            progress: see `certigap.progress.shown`.
            options: how to verify; see `certigap.requests.Options`.

        Raises:
            UnprocessableError: something does not fit; `errors` says where.
            WaitTimeout: it has not ended in time; the job goes on.
            JobFailedError: it ended without an answer.
        """
        request: VerifyJob = {"kind": "verify", "proxy": (yield from self._proxy(model, manifest)), "u": u}
        if case is not None:
            request["problem"] = yield from self._problem(case)
        if input_unit is not None:
            request["input_unit"] = input_unit
        if output_unit is not None:
            request["output_unit"] = output_unit
        if options:
            request["options"] = options
        job = yield from Jobs.create.flow(self.jobs, request)
        job = yield from Jobs.wait.flow(self.jobs, job.id, timeout, progress)
        if job.status == "failed":
            raise JobFailedError(job)
        return Verification(self.runner, job)

    def _proxy(self, model: Model, manifest: Mapping[str, Any] | None) -> Flow[str]:
        if isinstance(model, Proxy):
            return model.id
        if isinstance(model, str) and model.startswith("prx_") and not Path(model).exists():
            return model
        return (yield from Proxies.upload.flow(self.proxies, model, manifest)).id

    def _problem(self, case: Case) -> Flow[str]:
        if isinstance(case, Problem):
            return case.id
        if isinstance(case, str) and case.startswith("prb_"):
            return case
        return (yield from Problems.create.flow(self.problems, case)).id


class Client(BaseClient[Sync]):
    """A Certigap server, called by blocking; safe to share between threads.

    Args:
        server: its address; default: CERTIGAP_SERVER, else http://127.0.0.1:8787.
        api_key: default: CERTIGAP_API_KEY, else none, as a server on one's own machine asks for none.
        timeout: seconds, or httpx's time-outs.
        retries: how often a request is sent again where that helps.
        transport: instead of the network.
    """

    def __init__(
        self,
        server: str | None = None,
        api_key: str | None = None,
        *,
        timeout: float | httpx.Timeout = TIMEOUT,
        retries: int = RETRIES,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self.server = _address(server)
        http = httpx.Client(base_url=self.server, headers=_headers(api_key), timeout=timeout, transport=transport)
        super().__init__(Sync(http, retries))

    def close(self) -> None:
        """Close the connections."""
        self.runner.http.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


class AsyncClient(BaseClient[Async]):
    """A Certigap server, called with asyncio; the same as `Client`, awaited.

    Args:
        server, api_key, timeout, retries, transport: as for `Client`.
    """

    def __init__(
        self,
        server: str | None = None,
        api_key: str | None = None,
        *,
        timeout: float | httpx.Timeout = TIMEOUT,
        retries: int = RETRIES,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.server = _address(server)
        http = httpx.AsyncClient(base_url=self.server, headers=_headers(api_key), timeout=timeout, transport=transport)
        super().__init__(Async(http, retries))

    async def aclose(self) -> None:
        """Close the connections."""
        await self.runner.http.aclose()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.aclose()


def _address(server: str | None) -> str:
    address = server or os.environ.get("CERTIGAP_SERVER") or DEFAULT_SERVER
    if not address.startswith(("http://", "https://")):
        raise UsageError(f"the server's address is such as {DEFAULT_SERVER}, not {address!r}")
    return address.rstrip("/")


def _headers(api_key: str | None) -> dict[str, str]:
    key = api_key or os.environ.get("CERTIGAP_API_KEY")
    headers = {"User-Agent": f"certigap-python/{VERSION}", "Accept": "application/json"}
    return headers if key is None else {**headers, "Authorization": f"Bearer {key}"}
