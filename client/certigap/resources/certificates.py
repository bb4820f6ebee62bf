"""Certificates: what of one can be derived again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from certigap.flow import Flow, Request
from certigap.models import Check
from certigap.operation import Resource, Runner, operation


class Certificates(Resource[Runner]):
    """`client.certificates`."""

    @operation
    def check(self, certificate: Mapping[str, Any], proxy: str, samples: int | None = None) -> Flow[Check]:
        """Let the server replay a certificate's witness, compare fingerprints and try random inputs.

        Args:
            certificate: as `jobs.certificate` returns it.
            proxy: id of the proxy that it is about.
            samples: random inputs that must obey the upper bound.

        Raises:
            UnprocessableError: it is no certificate.
        """
        body: dict[str, Any] = {"certificate": dict(certificate), "proxy": proxy}
        if samples is not None:
            body["samples"] = samples
        return (yield from self.ask(Request("POST", "/v1/certificates:check", json=body), Check))
