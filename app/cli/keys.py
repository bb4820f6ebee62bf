"""`certigap keys`: make, list and revoke the API keys of a service."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer
from sqlalchemy.orm import Session

from app.api.bodies import moment
from app.settings import Settings
from app.store.database import open_database, session
from app.store.keys import create_key, list_keys, revoke_key
from app.store.migrate import migrate

cli = typer.Typer(no_args_is_help=True, help="Make, list and revoke API keys.")

_Json = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]


@cli.command()
def create(
    tenant: Annotated[str, typer.Option(help="Whose key; made where there is none of this name.")] = "default",
    as_json: _Json = False,
) -> None:
    """Make a key and print it, this once: only a digest of it is stored."""
    with _database() as s:
        row, key = create_key(s, tenant)
    print(json.dumps({"id": row.id, "tenant": row.tenant, "key": key}) if as_json else key)


@cli.command("list")
def show(as_json: _Json = False) -> None:
    """List all keys; what they are nobody can tell."""
    with _database() as s:
        rows = list_keys(s)
    told = [
        {
            "id": key.id,
            "tenant": tenant.name,
            "created_at": moment(key.created_at).isoformat(),
            "revoked_at": None if key.revoked_at is None else moment(key.revoked_at).isoformat(),
        }
        for key, tenant in rows
    ]
    if as_json:
        print(json.dumps({"data": told}))
        return
    for one in told:
        state = f"revoked {one['revoked_at']}" if one["revoked_at"] else "valid"
        print(f"{one['id']}  {one['tenant']:20} {one['created_at']}  {state}")


@cli.command()
def revoke(
    key: Annotated[str, typer.Argument(help="Its id: what stands between the underscores.")], as_json: _Json = False
) -> None:
    """Make a key worthless, from the next request on."""
    with _database() as s:
        row = revoke_key(s, key)
    print(json.dumps({"id": row.id, "revoked": True}) if as_json else f"{row.id} is revoked")


@contextmanager
def _database() -> Iterator[Session]:
    settings = Settings()
    migrate(settings.database)
    engine = open_database(settings.database)
    try:
        with session(engine) as s, s.begin():
            yield s
    finally:
        engine.dispose()
