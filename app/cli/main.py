"""The command `certigap`: its subcommands, and how errors and results become exit codes."""

from __future__ import annotations

import importlib
import sys

import typer

from app.cli.remote import RemoteError
from problems.errors import CaseError, DomainError, InstanceError
from proxies.errors import ProxyError
from solvers.errors import CertigapError, SolverUnavailableError

# Exit codes of sysexits.h, all 64 and up so that 0, 1 and 2 keep their meaning: certified, falsified, not decided.
USAGE, BAD_DATA, UNAVAILABLE, FAILED = 64, 65, 69, 70

# Typer may carry its own copy of click; the classes that BadParameter derives from are the right ones in any case.
_ClickError: type[Exception] = typer.BadParameter.__mro__[2]

# Each is a module here, with a function or a group of commands of its name.
COMMANDS = ("verify", "train", "check", "serve", "worker", "migrate", "keys", "proxies", "jobs", "doctor")


def command_line(first: str = "") -> typer.Typer:
    """Return the command line; only with the command `first` where there is such: the others' imports take seconds."""
    cli = typer.Typer(
        add_completion=False,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        help="Certified worst-case optimality gaps of trained optimization proxies.",
    )
    cli.callback()(_no_options)
    for name in [first] if first in COMMANDS else COMMANDS:
        module = importlib.import_module(f"app.cli.{name}")
        if hasattr(module, "cli"):
            cli.add_typer(module.cli, name=name)
        else:
            cli.command()(getattr(module, name))
    return cli


def _no_options() -> None:
    """Certified worst-case optimality gaps of trained optimization proxies."""


def main() -> None:
    """Run the command line and exit: 0 certified or done, 1 falsified, 2 not decided, 64 and up for errors."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run the command line on `arguments` and return the exit code; errors are one sentence on stderr."""
    try:
        cli = command_line(arguments[0] if arguments else "")
        code = typer.main.get_command(cli).main(arguments, prog_name="certigap", standalone_mode=False)
        return int(code or 0)
    except typer.Exit as error:
        return int(error.exit_code)
    except _ClickError as error:
        # No arguments at all show the help, which is no error message.
        message = error.format_message()  # type: ignore[attr-defined]
        print(f"certigap: {message}" if arguments else message, file=sys.stderr)
        return USAGE
    except (typer.Abort, KeyboardInterrupt):
        print("certigap: interrupted before any bound was known; nothing was written", file=sys.stderr)
        return FAILED
    except CertigapError as error:
        print(f"certigap: {error}", file=sys.stderr)
        return _code(error)
    except OSError as error:
        print(f"certigap: {error.filename or 'the system'}: {error.strerror or error}", file=sys.stderr)
        return FAILED
    except Exception as error:
        # Exit 1 would mean "falsified": a defect must never look like an answer.
        print(f"certigap: a defect of ours, please report it: {type(error).__name__}: {error}", file=sys.stderr)
        return FAILED


def _code(error: CertigapError) -> int:
    if isinstance(error, RemoteError):
        return error.code
    # These load torch, which a command that ends well may not need.
    from verifier.certificate_schema import CertificateError
    from verifier.cut_store import CutStoreError

    if isinstance(error, (ProxyError, CaseError, InstanceError, CertificateError, CutStoreError, DomainError)):
        return BAD_DATA
    return UNAVAILABLE if isinstance(error, SolverUnavailableError) else USAGE


if __name__ == "__main__":
    main()
