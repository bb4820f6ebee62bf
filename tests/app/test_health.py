"""Health of the parts, as a container engine asks for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from app import health
from app.settings import Settings
from app.store import workers
from app.store.database import open_database, session
from app.store.migrate import migrate
from app.store.tables import Worker


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    found = Settings(data_dir=tmp_path, port=9)
    migrate(found.database)
    return found


def sign_in(settings: Settings, slot: str = "", ago: float = 0.0) -> None:
    engine = open_database(settings.database)
    with session(engine) as s, s.begin():
        name = workers.new_name(slot)
        workers.sign_in(s, name, ["cpu"], 1)
        s.get_one(Worker, name).seen_at -= ago
    engine.dispose()


def test_a_worker_is_well_while_it_gives_signs_of_life(settings: Settings) -> None:
    assert "no sign of life" in health.worker(settings)
    sign_in(settings)
    assert health.worker(settings) == ""


def test_one_that_fell_silent_or_works_elsewhere_does_not_count(settings: Settings) -> None:
    sign_in(settings, ago=health.SILENT + 1)
    sign_in(settings, slot="elsewhere")
    assert "no sign of life" in health.worker(settings)
    assert health.worker(settings.model_copy(update={"slot": "elsewhere"})) == ""


def test_a_worker_without_its_database_is_ill(tmp_path: Path) -> None:
    assert "OperationalError" in health.worker(Settings(database_url=f"sqlite:///{tmp_path}/no/where.db"))


def test_an_api_that_does_not_answer_is_ill(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "the API is not ready" in health.api(settings)
    monkeypatch.setenv("CERTIGAP_PORT", "9")
    assert health.main("api") == 1
    assert "refused" in capsys.readouterr().out
