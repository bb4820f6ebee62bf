"""Temporary folders of jobs, told from those that a killed process left by a lock that dies with its holder."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_PREFIX = "certigap-work-"
# Seconds in which a new folder is locked for certain.
_NEW = 60.0


@contextmanager
def work_folder() -> Iterator[Path]:
    """A new folder, removed at the end."""
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
    lock = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def drop_left() -> None:
    """Remove the folders on this machine whose holders were killed."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        try:
            lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except OSError:
            continue  # Gone meanwhile, or not ours.
        try:
            found = os.fstat(lock)
            if found.st_uid == os.geteuid() and time.time() - found.st_ctime > _NEW:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
        except BlockingIOError:
            pass  # Somebody works there.
        finally:
            os.close(lock)
