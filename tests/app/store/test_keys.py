"""Keys: stored as digests, compared with what was given, worthless once revoked; and the commands that make them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from app.cli.main import run
from app.store.database import open_database, reading, session
from app.store.keys import KeyNotFoundError, create_key, list_keys, revoke_key, who
from app.store.migrate import migrate
from app.store.tables import ApiKey, Setting


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    url = f"sqlite:///{tmp_path}/x.db"
    migrate(url)
    found = open_database(url)
    yield found
    found.dispose()


def test_a_key_names_its_tenant(engine: Engine) -> None:
    with session(engine) as s, s.begin():
        (first, one), (second, two) = create_key(s, "alice"), create_key(s, "alice")
        other, three = create_key(s, "bob")
    assert re.fullmatch(r"cg_[0-9A-Z]{26}_[0-9a-f]{64}", one)
    with reading(engine) as s:
        found = [who(s, key) for key in (one, two, three)]
    assert [caller and caller.tenant for caller in found] == [first.tenant, first.tenant, other.tenant]
    assert first.tenant == second.tenant != other.tenant


def test_nothing_stored_is_a_key(engine: Engine) -> None:
    with session(engine) as s, s.begin():
        row, key = create_key(s, "alice")
        secret = key.split("_")[2]
        pepper = s.get_one(Setting, "pepper").value
        assert secret not in (row.digest, pepper)
        assert who(s, f"cg_{row.id}_{row.digest}") is None
        assert who(s, f"cg_{row.id}_{pepper}") is None


def test_a_revoked_key_is_none(engine: Engine) -> None:
    with session(engine) as s, s.begin():
        row, key = create_key(s, "alice")
        revoked = revoke_key(s, row.id).revoked_at
        assert who(s, key) is None
        assert revoke_key(s, row.id).revoked_at == revoked
        with pytest.raises(KeyNotFoundError, match="nobody"):
            revoke_key(s, "nobody")


def test_the_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("CERTIGAP_DATA_DIR", str(tmp_path))
    assert run(["migrate"]) == 0
    capsys.readouterr()
    assert run(["keys", "create", "--tenant", "alice", "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    engine = open_database(f"sqlite:///{tmp_path}/certigap.db")
    with reading(engine) as s:
        caller = who(s, made["key"])
        assert caller is not None
        assert caller.tenant == made["tenant"]
    assert run(["keys", "list"]) == 0
    listed = capsys.readouterr().out
    assert made["id"] in listed
    assert made["key"] not in listed
    assert run(["keys", "revoke", made["id"]]) == 0
    with reading(engine) as s:
        assert who(s, made["key"]) is None
        assert [key.revoked_at is not None for key, _ in list_keys(s)] == [True]
        assert s.get_one(ApiKey, made["id"]).digest
    engine.dispose()
    assert run(["keys", "revoke", "none"]) >= 64
