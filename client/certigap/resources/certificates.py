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
    def check(
        self,
        certificate: Mapping[str, Any],
        proxy: str | None = None,
        problem: str | None = None,
        samples: int | None = None,
    ) -> Flow[Check]:
        """Let the server replay a certificate's witness, compare fingerprints and try random inputs.

        Args:
            certificate: as `jobs.certificate` returns it.
            proxy: id of the proxy that it is about; default: your upload of the file that the certificate names.
            problem: id of a problem, instead of the one that the proxy's manifest names.
            samples: random inputs that must obey the upper bound.

        Raises:
            UnprocessableError: it is no certificate, or its proxy is not there.
        """
        given = {"proxy": proxy, "problem": problem, "samples": samples}
        body = {"certificate": dict(certificate), **{name: value for name, value in given.items() if value is not None}}
        return (yield from self.ask(Request("POST", "/v1/certificates:check", json=body), Check))
