"""`certigap proxies`: uploaded model files of a server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.remote import BAD_DATA, Json, Key, RemoteError, Server, connected, say

if TYPE_CHECKING:
    import certigap

cli = typer.Typer(no_args_is_help=True, help="Proxies of a server.")


@cli.command("upload")
def upload(
    model: Annotated[Path, typer.Argument(help="ONNX or safetensors file.", show_default=False)],
    manifest: Annotated[Path | None, typer.Option(help="JSON file; default: beside or inside the model file.")] = None,
    server: Server = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Upload a model file; the same file again gives the same proxy."""
    with connected(server, key) as client:
        proxy = client.proxies.upload(model, None if manifest is None else _mapping(manifest))
        say(proxy, as_json, lambda: _line(proxy))


@cli.command("get")
def get(
    proxy: Annotated[str, typer.Argument(metavar="PROXY", help="Id of a proxy.", show_default=False)],
    server: Server = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Show an uploaded proxy."""
    with connected(server, key) as client:
        found = client.proxies.get(proxy)
        say(found, as_json, lambda: _line(found))


def _mapping(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_bytes())
    except ValueError as error:
        raise RemoteError(f"{path} is not JSON ({error}); give the manifest", BAD_DATA) from error
    if not isinstance(found, dict):
        raise RemoteError(f"{path} is no manifest; it has to be a JSON object", BAD_DATA)
    return found


def _line(proxy: certigap.Proxy) -> str:
    shape = " -> ".join(str(size) for size in (proxy.summary.inputs, *(k.outputs for k in proxy.summary.layers)))
    problem = "no manifest" if proxy.summary.problem is None else str(proxy.summary.problem.get("kind"))
    return f"{proxy.id}  {proxy.format}  {proxy.size:,} bytes  {problem}  {shape}"
