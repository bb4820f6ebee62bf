"""Whether the part of the service that runs on this machine does its work: `python -m app.health api|worker`.

For container engines and the like, which ask every few seconds: nothing heavy is imported. Exit code 0 means yes.
"""

from __future__ import annotations

import sys
from urllib.error import URLError
from urllib.request import ProxyHandler, build_opener

from sqlalchemy.exc import SQLAlchemyError

from app.settings import Settings
from app.store import workers
from app.store.database import open_database, reading

# Seconds that the API has to answer; and without a sign of life after which a worker, which gives one each second,
# counts as ill: it may wait for the database meanwhile.
ANSWER, SILENT = 5.0, 30.0


def api(settings: Settings) -> str:
    """Return what is wrong with the API; nothing where it can take requests."""
    try:
        # No proxy: this machine is meant.
        with build_opener(ProxyHandler({})).open(f"http://127.0.0.1:{settings.port}/readyz", timeout=ANSWER):
            return ""
    except (URLError, TimeoutError) as error:
        return f"the API is not ready: {error}"


def worker(settings: Settings) -> str:
    """Return what is wrong with this machine's worker; nothing where it gives signs of life."""
    engine = open_database(settings.database)
    try:
        with reading(engine) as s:
            return "" if workers.lives(s, settings.slot, SILENT) else f"no sign of life for {SILENT:.0f} s"
    except SQLAlchemyError as error:
        return f"the database cannot be asked: {type(error).__name__}"
    finally:
        engine.dispose()


def main(part: str) -> int:
    """Say what is wrong with a part, "api" or "worker"; returns 0 where nothing is."""
    wrong = {"api": api, "worker": worker}[part](Settings())
    print(wrong or "well")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
