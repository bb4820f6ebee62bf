"""`certigap jobs`: submit, follow and end jobs of a server, and fetch what they leave."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from app.cli.remote import FAILED, LATER, Json, Key, RemoteError, Server, connected, say
from app.cli.share import parse_share

if TYPE_CHECKING:
    import certigap

_VERDICTS = {"certified": 0, "falsified": 1}
_UNDECIDED = 2

cli = typer.Typer(no_args_is_help=True, help="Jobs of a server.")

JobId = Annotated[str, typer.Argument(metavar="JOB", help="Id of a job.", show_default=False)]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="A choice of the job, such as time_limit=60; may be repeated."),
]
Wait = Annotated[bool, typer.Option("--wait", help="Wait for the end; the exit code is then the verdict's.")]
Timeout = Annotated[float | None, typer.Option(help="Seconds to wait; the job goes on afterwards.")]


@cli.command("submit")
def submit(
    model: Annotated[str, typer.Argument(help="A model file to upload, or the id of a proxy.", show_default=False)],
    kind: Annotated[
        Literal["verify", "attack", "bounds", "evaluate", "sweep"], typer.Option(help="What to do with it.")
    ] = "verify",
    u: Annotated[
        str, typer.Option("-u", help="Half-width of the inputs' range; for a sweep several: 1%,2%,5%.")
    ] = "5%",
    case: Annotated[
        str | None, typer.Option(help="PGLib name, .m file, JSON instance or problem id; default: the manifest's.")
    ] = None,
    input_unit: Annotated[str | None, typer.Option(help="Unit the network reads.")] = None,
    output_unit: Annotated[str | None, typer.Option(help="Unit the network writes.")] = None,
    priority: Annotated[int | None, typer.Option(help="Smaller goes first.")] = None,
    choices: Set = None,
    wait: Wait = False,
    timeout: Timeout = None,
    server: Server = None,
    key: Key = None,
    as_json: Json = False,
) -> int:
    """Submit a job about a proxy, uploading the model file where one is given."""
    shares = [parse_share(part, "-u") for part in u.split(",")]
    if len(shares) > 1 and kind != "sweep":
        raise typer.BadParameter("several values are for --kind sweep", param_hint="-u")
    chosen = _choices(choices)
    request: dict[str, Any] = {"kind": kind, "u": shares if kind == "sweep" else shares[0]}
    if kind in ("bounds", "evaluate"):
        request |= chosen
    elif chosen:
        request["options"] = chosen
    given = {"input_unit": input_unit, "output_unit": output_unit, "priority": priority}
    request |= {name: value for name, value in given.items() if value is not None}
    with connected(server, key) as client:
        known = model.startswith("prx_") and not Path(model).exists()
        request["proxy"] = model if known else client.proxies.upload(model).id
        if case is not None:
            request["problem"] = case if case.startswith("prb_") else client.problems.create(case).id
        return _submit(client, request, wait, timeout, as_json)


@cli.command("train")
def train(
    case: Annotated[str, typer.Argument(help="PGLib name, .m file, JSON instance or problem id.", show_default=False)],
    choices: Set = None,
    wait: Wait = False,
    timeout: Timeout = None,
    server: Server = None,
    key: Key = None,
    as_json: Json = False,
) -> int:
    """Submit the training of a proxy."""
    chosen = _choices(choices)
    with connected(server, key) as client:
        problem = case if case.startswith("prb_") else client.problems.create(case).id
        return _submit(client, {"kind": "train", "problem": problem, **chosen}, wait, timeout, as_json)


@cli.command("list")
def show_list(
    status: Annotated[str | None, typer.Option(help="Only jobs of this status.")] = None,
    most: Annotated[int, typer.Option("--most", min=1, help="Show at most so many, newest first.")] = 20,
    server: Server = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """List jobs, newest first."""
    with connected(server, key) as client:
        pages = client.jobs.list(status, page_size=min(most, 100))  # type: ignore[arg-type]
        found = [job for job, _ in zip(pages, range(most))]
    if as_json:
        print(json.dumps({"data": [job.model_dump(mode="json") for job in found]}))
    else:
        print("\n".join(_line(job) for job in found) or "there are no such jobs")


@cli.command("get")
def get(job: JobId, server: Server = None, key: Key = None, as_json: Json = False) -> None:
    """Show a job."""
    with connected(server, key) as client:
        _say(client.jobs.get(job), as_json)


@cli.command("wait")
def wait_for(job: JobId, timeout: Timeout = None, server: Server = None, key: Key = None, as_json: Json = False) -> int:
    """Wait for a job's end; exit with its verdict's code."""
    with connected(server, key) as client:
        return _wait(client, job, timeout, as_json)


@cli.command("cancel")
def cancel(job: JobId, server: Server = None, key: Key = None, as_json: Json = False) -> None:
    """Ask to end a job with the bounds so far."""
    with connected(server, key) as client:
        _say(client.jobs.cancel(job), as_json)


@cli.command("resume")
def resume(job: JobId, server: Server = None, key: Key = None, as_json: Json = False) -> None:
    """Go on with a job that was cancelled, failed or ran out of time."""
    with connected(server, key) as client:
        _say(client.jobs.resume(job), as_json)


@cli.command("events")
def events(
    job: JobId,
    after: Annotated[int, typer.Option(min=0, help="Leave out the events up to this number.")] = 0,
    server: Server = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Print a job's events as they happen, one a line, until it has ended."""
    with connected(server, key) as client:
        from certigap.text import line

        for event in client.jobs.events(job, after):
            print(event.model_dump_json(exclude_none=True) if as_json else line(event), flush=True)


@cli.command("result")
def result(job: JobId, server: Server = None, key: Key = None, as_json: Json = False) -> None:
    """Print the result of a job that has ended, as JSON."""
    with connected(server, key) as client:
        print(client.jobs.result(job).model_dump_json(indent=None if as_json else 2))


@cli.command("save")
def save(
    job: JobId,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the two files.")] = Path(),
    server: Server = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Write certificate.json and report.html of a verification that has ended."""
    with connected(server, key) as client:
        certificate, report = client.jobs.save(job, output)
    if as_json:
        print(json.dumps({"certificate": str(certificate.resolve()), "report": str(report.resolve())}))
    else:
        print(f"certificate: {certificate}\nreport:      {report}")


@cli.command("log")
def log(
    job: JobId,
    offset: Annotated[int, typer.Option(min=0, help="Leave out so many characters.")] = 0,
    server: Server = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Print what a job printed."""
    with connected(server, key) as client:
        text = client.jobs.log(job, offset)
    if as_json:
        print(json.dumps({"offset": offset, "text": text}))
    else:
        sys.stdout.write(text)


def _choices(given: Sequence[str] | None) -> dict[str, Any]:
    """Read NAME=VALUE pairs; a value that is no JSON is a word."""
    chosen: dict[str, Any] = {}
    for text in given or ():
        name, equals, value = text.partition("=")
        if not (name and equals):
            raise typer.BadParameter(f"{text!r} sets nothing; write time_limit=60", param_hint="--set")
        try:
            chosen[name] = json.loads(value)
        except ValueError:
            chosen[name] = value
    return chosen


def _submit(client: certigap.Client, request: Any, wait: bool, timeout: float | None, as_json: bool) -> int:
    job = client.jobs.create(request)
    if not wait:
        _say(job, as_json)
        return 0
    if not as_json:
        print(f"submitted {job.id}", file=sys.stderr)
    return _wait(client, job.id, timeout, as_json)


def _wait(client: certigap.Client, job: str, timeout: float | None, as_json: bool) -> int:
    try:
        ended = client.jobs.wait(job, timeout)
    except KeyboardInterrupt:
        raise RemoteError(f"interrupted; {job} goes on: certigap jobs wait {job}, or cancel it", LATER) from None
    _say(ended, as_json)
    if ended.status == "failed":
        return FAILED
    if ended.kind == "verify" or ended.status == "canceled":
        return _VERDICTS.get(ended.verdict or "", _UNDECIDED)
    return 0


def _say(job: certigap.Job, as_json: bool) -> None:
    say(job, as_json, lambda: _line(job))


def _line(job: certigap.Job) -> str:
    from certigap.text import interval

    why = "" if job.error is None else f"{job.error.get('code')}: {job.error.get('message')}"
    facts = (job.verdict or "", interval(job.lower, job.upper, job.unit), why)
    return f"{job.id}  {job.kind:8}  {job.status:9}  {'  '.join(fact for fact in facts if fact)}".rstrip()
