"""Limited child processes: what reads uploaded files or runs a native solver never runs in the service's own process.

Children are forked from a server that has the heavy modules imported (about 20 ms each instead of seconds). Each leads
its own session, has limits on memory, files and time, speaks JSON only, and dies with its parent.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import math
import multiprocessing
import os
import re
import resource
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing import forkserver
from multiprocessing.connection import Connection, wait
from pathlib import Path
from types import ModuleType
from typing import Any

from solvers.errors import CertigapError
from solvers.lifetime import die_with_parent

# The largest message in bytes: a result, or a part of a search.
LARGEST_MESSAGE = 256 * 2**20
# How variables begin that name databases, keys and their passwords.
SECRET = ("CERTIGAP_", "PG", "AWS_")
# Seconds for a child to appear: the first one waits for the server's imports.
START_SECONDS = 60.0
# Seconds from a child's last word to its exit code.
ENDING_SECONDS = 2.0

_context = multiprocessing.get_context("forkserver")


@dataclass(frozen=True)
class Limits:
    """What a child may use.

    Attributes:
        seconds: wall clock, for `call`; a `Child` is watched by who started it.
        memory: bytes beyond what a fresh child has.
        file_size: bytes of the largest file it may write.
        files: open files.
        gpu: whether it may use a GPU, whose driver reserves far more addresses than it uses: then `memory` limits what
            it writes to, and not its addresses.
    """

    seconds: float = 10.0
    memory: int = 512 * 2**20
    file_size: int = 2**20
    files: int = 256
    gpu: bool = False


class SandboxError(CertigapError):
    """A child did not do its work."""


class SandboxTimeoutError(SandboxError, TimeoutError):
    """It took too long."""


class SandboxMemoryError(SandboxError, MemoryError):
    """It asked for more memory than it may have."""


class SandboxDiedError(SandboxError, RuntimeError):
    """It crashed or was killed."""


class SandboxRefusedError(SandboxError, ValueError):
    """The work was refused: `kind` is the class of the error raised in the child, `str()` its sentence."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


def error_code(kind: str) -> str:
    """Return the code of one of our errors, by the name of its class: "model_file" for ModelFileError."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", kind.removesuffix("Error")).lower()


@dataclass(frozen=True)
class Channel:
    """What a child's target has of the world.

    Attributes:
        say: sends a message.
        stopped: True once the child shall end.
        hear: returns the messages that have come in.
    """

    say: Callable[[dict[str, Any]], None]
    stopped: Callable[[], bool]
    hear: Callable[[], list[dict[str, Any]]] = list


def warm_up(*modules: str) -> None:
    """Start the server that children are forked from, and have it import what they need."""
    with _starting, _without_secrets():
        _context.set_forkserver_preload(list(modules))
        forkserver.ensure_running()


@contextlib.contextmanager
def _without_secrets() -> Iterator[None]:
    """Keep this process's passwords out of the environment that children inherit."""
    hidden = {name: os.environ.pop(name) for name in list(os.environ) if name.startswith(SECRET)}
    try:
        yield
    finally:
        os.environ.update(hidden)


class Child:
    """A running child process.

    Args:
        target: "module:function"; called with `spec` and a `Channel`, and its result is the last message.
        spec: plain data.
        limits: see `Limits`.
        log: file that takes what the child prints.
    """

    def __init__(self, target: str, spec: dict[str, Any], limits: Limits, log: Path | None = None) -> None:
        self._pipe, theirs = _context.Pipe()
        with _starting, _without_secrets():
            arguments = (theirs, target, json.dumps(spec), limits, None if log is None else str(log))
            self._process = _context.Process(target=_child, args=arguments)
            with _nameless_main():
                self._process.start()
        theirs.close()

    @property
    def pid(self) -> int:
        """Its process, and the group that holds all processes it started."""
        assert self._process.pid is not None
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs; the negative number of the signal that ended it."""
        self._process.join(ENDING_SECONDS)
        return self._process.exitcode

    def listen(self, seconds: float) -> dict[str, Any] | None:
        """Return its next message within so many seconds, or None.

        Raises:
            EOFError: it has ended, and everything it said was heard.
        """
        ready = wait([self._pipe, self._process.sentinel], timeout=seconds)
        try:
            if self._pipe in ready or self._pipe.poll():
                return dict(json.loads(self._pipe.recv_bytes(LARGEST_MESSAGE)))
        except (EOFError, OSError):
            raise EOFError from None
        if ready:
            raise EOFError
        return None

    def tell(self, message: dict[str, Any]) -> None:
        """Send it a message; one that has ended hears nothing."""
        with contextlib.suppress(OSError):
            self._pipe.send_bytes(json.dumps(message, allow_nan=False).encode())

    def stop(self) -> None:
        """Ask it to end with what it has."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGTERM)

    def close(self) -> None:
        """End it and everything it started, at once."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.kill()
        self._process.join()
        self._pipe.close()


def call(target: str, spec: dict[str, Any], limits: Limits) -> Any:
    """Return what `target` ("module:function", of a dict) makes of `spec` in a limited child.

    Raises:
        SandboxRefusedError: it raised one of our own errors.
        SandboxTimeoutError, SandboxMemoryError, SandboxDiedError: it met a limit, or crashed.
    """
    child = Child(target, {"call": spec}, limits)
    began = time.monotonic()
    try:
        while True:
            started = child.listen(START_SECONDS)
            if started is not None:
                break
            raise SandboxDiedError("the child process did not start; the machine may be overloaded, try again")
        began = time.monotonic()
        answer = child.listen(limits.seconds)
        if answer is None:
            raise SandboxTimeoutError(f"the work took longer than {time.monotonic() - began:.0f} s; make it smaller")
        return outcome(answer)
    except EOFError:
        raise SandboxDiedError("the process that did the work crashed; nothing of it was kept") from None
    finally:
        child.close()


def outcome(message: dict[str, Any]) -> Any:
    """Return the result that a child's last message holds.

    Raises:
        SandboxError: see `call`.
    """
    if "refused" in message:
        raise SandboxRefusedError(**message["refused"])
    if "memory" in message:
        raise SandboxMemoryError("the work needs more memory than a request may use; make it smaller")
    if "defect" in message:
        raise SandboxDiedError(message["defect"])
    return message["result"]


_starting = threading.Lock()


@contextlib.contextmanager
def _nameless_main() -> Iterator[None]:
    """Hide this process' main module: a child would import it again, for up to a second, and needs nothing of it."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def _child(pipe: Connection, target: str, spec: str, limits: Limits, log: str | None) -> None:
    """The life of a child."""
    os.setsid()
    die_with_parent()
    stop = threading.Event()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda number, frame: stop.set())
    _redirect(log)
    _limit(limits)
    lock = threading.Lock()

    def say(message: dict[str, Any]) -> None:
        with lock:
            pipe.send_bytes(json.dumps(message, allow_nan=False).encode())

    heard: deque[dict[str, Any]] = deque()

    def listen() -> None:
        # At any time, also while the work says something long: else both sides could wait for the other one to listen.
        with contextlib.suppress(EOFError, OSError):
            while True:
                heard.append(dict(json.loads(pipe.recv_bytes(LARGEST_MESSAGE))))

    def hear() -> list[dict[str, Any]]:
        return [heard.popleft() for _ in range(len(heard))]

    say({"started": os.getpid()})
    module, function = target.split(":")
    try:
        work = getattr(importlib.import_module(module), function)
        data = json.loads(spec)
        if "call" in data:
            result = work(data["call"])
        else:
            threading.Thread(target=listen, daemon=True).start()
            result = work(data, Channel(say, stop.is_set, hear))
        last = {"result": result}
    except CertigapError as error:
        last = {"refused": {"kind": type(error).__name__, "message": str(error)}}
    except MemoryError:
        last = {"memory": True}
    except Exception as error:
        # Torch has no error of its own for this.
        if isinstance(error, RuntimeError) and "allocate memory" in str(error):
            last = {"memory": True}
        else:
            print(f"{type(error).__name__}: {error}", file=sys.stderr)
            last = {"defect": f"{type(error).__name__}: {error}"}
    with contextlib.suppress(BrokenPipeError):
        say(last)
    sys.stdout.flush()
    sys.stderr.flush()
    # Nothing that the work left behind, such as a thread of a solver, keeps this process.
    os._exit(0)


def _redirect(log: str | None) -> None:
    descriptor = os.open(os.devnull if log is None else log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)


def _limit(limits: Limits) -> None:
    # Pages of addresses, and of data and stack.
    pages = [int(count) for count in Path("/proc/self/statm").read_text(encoding="ascii").split()]
    used = pages[5 if limits.gpu else 0] * resource.getpagesize()
    chosen = {
        resource.RLIMIT_DATA if limits.gpu else resource.RLIMIT_AS: used + limits.memory,
        resource.RLIMIT_FSIZE: limits.file_size,
        resource.RLIMIT_NOFILE: limits.files,
        resource.RLIMIT_CORE: 0,
    }
    if math.isfinite(limits.seconds):
        # A child that its watcher lost sight of: every core for twice its time.
        chosen[resource.RLIMIT_CPU] = math.ceil(2 * limits.seconds * (os.cpu_count() or 1)) + 60
    for limit, value in chosen.items():
        hard = resource.getrlimit(limit)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(limit, (value, value))
