"""Drives a running service through the SDK: upload, verify, certificate, check, and a layer's call.

    drive.py verify PROXY FOLDER     verifies, and keeps the certificate in FOLDER
    drive.py again FOLDER            finds the same certificate, with the same key, whatever was done to the service

The server and the key are in CERTIGAP_SERVER and CERTIGAP_API_KEY.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from certigap import Client, errors

U = 0.2
# Seconds for the verification; it takes a few on an idle machine.
PATIENCE = 300.0


def verify(proxy: str, folder: str) -> None:
    """Verify a proxy and check what the certificate says."""
    _expect(_status_of_a_wrong_key() == 401, "a wrong key is refused")
    with Client() as client:
        found = client.verify(proxy, u=U, timeout=PATIENCE)
        print(f"    {proxy} at {U:.0%}: {found.verdict}, {found.lower} to {found.upper} ({found.unit}), {found.job.id}")
        _expect(found.verdict == "certified" and found.lower <= found.upper, "the proxy is certified")
        certificate = found.certificate()
        check = client.certificates.check(certificate)
        for finding in check.findings:
            print(f"    {finding.standing:8} {finding.claim}")
        _expect(check.outcome == "consistent", "no claim of the certificate fails")
        forged = {**certificate, "claim": {**certificate["claim"], "upper": certificate["claim"]["lower"] / 2}}
        _expect(client.certificates.check(forged).outcome == "refuted", "a forged certificate is found out")
        _expect("<html" in found.report(), "there is a report")
    # The only code that is compiled when it is first used: calls time out until all of it is, on a slow machine.
    with Client(retries=8) as client:
        best = client.layers.ilp.solve(c=[-3, -5], A=[[2, 4]], b=[5]).model_dump()
        _expect(best["value"] == [-5], "a layer's call is answered: the best of two items is the second")
    Path(folder, "job").write_text(found.job.id, encoding="utf-8")
    Path(folder, "certificate.json").write_text(json.dumps(certificate), encoding="utf-8")


def again(folder: str) -> None:
    """Compare the stored certificate of the verified job with the one kept."""
    kept = json.loads(Path(folder, "certificate.json").read_text(encoding="utf-8"))
    with Client() as client:
        found = client.jobs.certificate(Path(folder, "job").read_text(encoding="utf-8"))
    _expect(found == kept, "the certificate is still there, and the key still opens")


def _status_of_a_wrong_key() -> int:
    with Client(api_key="cg_wrong", retries=0) as stranger:
        try:
            list(stranger.jobs.list())
        except errors.APIStatusError as refusal:
            return refusal.status
    return 200


def _expect(fact: bool, what: str) -> None:
    print(f"{'ok' if fact else 'NOT SO'}: {what}", flush=True)
    if not fact:
        sys.exit(1)


if __name__ == "__main__":
    {"verify": verify, "again": again}[sys.argv[1]](*sys.argv[2:])
