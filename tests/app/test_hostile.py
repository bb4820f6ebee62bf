"""Every hostile upload is refused with a problem document, runs nothing and leaves nothing. How fast: see
benchmarks/service/hostile.py.
"""

from __future__ import annotations

from pathlib import Path

from app.store.tables import Problem, Proxy
from tests.app.api.conftest import serve
from tests.app.hostile import corpus


def test_all_are_refused_and_nothing_stays(tmp_path: Path) -> None:
    marker, seen = tmp_path / "ran", set[str]()
    with serve(tmp_path / "service") as world:
        for upload in corpus(marker):
            answer = world.alice.post(upload.path, content=upload.content, headers=upload.headers)
            assert 400 <= answer.status_code < 500, (upload.name, answer.text)
            assert answer.headers["Content-Type"] == "application/problem+json", upload.name
            body = answer.json()
            assert body["code"] not in ("", "internal"), (upload.name, body)
            assert not any(place in body["detail"] for place in ("/tmp/", str(tmp_path))), (upload.name, body)
            assert not marker.exists(), upload.name
            seen.add(upload.name)
        with world.write() as s:
            assert s.query(Proxy).count() == s.query(Problem).count() == 0
        stored = Path(world.state.settings.data_dir, "blobs")
        assert not [path for path in stored.rglob("*") if path.is_file()]
        assert world.client.get("/readyz").status_code == 200
    assert len(seen) >= 30
