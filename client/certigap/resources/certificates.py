"""Certificates: looking for a false claim in one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from certigap.flow import Flow, Request
from certigap.models import Check
from certigap.operation import Resource, Runner, operation


class Certificates(Resource[Runner]):
    """`client.certificates`."""

    @operation
    def check(
        self,
        certificate: Mapping[str, Any],
        proxy: str | None = None,
        problem: str | None = None,
        samples: int | None = None,
        attack_seconds: float | None = None,
        time_limit: float | None = None,
        seed: int | None = None,
    ) -> Flow[Check]:
        """Let the server look for a false claim; an outcome of "consistent" is no proof of the upper bound.

        It replays the witness, compares what is told, and tries to exceed the upper bound at random inputs, at corners
        and by an attack. It does not derive the bound again.

        Args:
            certificate: as `jobs.certificate` returns it.
            proxy: id of the proxy that it is about; default: your upload of the file that the certificate names.
            problem: id of a problem, instead of the one that the proxy's manifest names.
            samples: random inputs that must obey the upper bound.
            attack_seconds: most time for an attack on the upper bound; 0 for none.
            time_limit: seconds for all of it; the server may allow less.
            seed: of the inputs that are tried, to repeat a check; None lets the server draw one.

        Raises:
            UnprocessableError: it is no certificate, or its proxy is not there.
        """
        given = {
            "proxy": proxy,
            "problem": problem,
            "samples": samples,
            "attack_seconds": attack_seconds,
            "time_limit": time_limit,
            "seed": seed,
        }
        body = {"certificate": dict(certificate), **{name: value for name, value in given.items() if value is not None}}
        return (yield from self.ask(Request("POST", "/v1/certificates:check", json=body), Check))
