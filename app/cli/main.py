"""The command `certigap`: its subcommands, and how errors and results become exit codes."""

from __future__ import annotations

import sys

import typer

from app.cli import check, doctor, keys, migrate, remote, serve, train, verify, worker
from problems.errors import CaseError, DomainError, InstanceError
from proxies.errors import ProxyError
from solvers.errors import CertigapError, SolverUnavailableError
from verifier.cut_store import CutStoreError

# Exit codes of sysexits.h, all 64 and up so that 0, 1 and 2 keep their meaning: certified, falsified, not decided.
USAGE, BAD_DATA, UNAVAILABLE, FAILED = 64, 65, 69, 70

# Typer may carry its own copy of click; the classes that BadParameter derives from are the right ones in any case.
_ClickError: type[Exception] = typer.BadParameter.__mro__[2]

cli = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Certified worst-case optimality gaps of trained optimization proxies.",
)
cli.command()(verify.verify)
cli.add_typer(train.cli, name="train")
cli.command()(check.check)
cli.command()(doctor.doctor)
cli.command()(serve.serve)
cli.command()(worker.worker)
cli.add_typer(remote.proxies, name="proxies")
cli.add_typer(remote.jobs, name="jobs")
cli.command()(migrate.migrate)
cli.add_typer(keys.cli, name="keys")


def main() -> None:
    """Run the command line and exit: 0 certified or done, 1 falsified, 2 not decided, 64 and up for errors."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run the command line on `arguments` and return the exit code; errors are one sentence on stderr."""
    try:
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
    if isinstance(error, remote.RemoteError):
        return error.code
    if isinstance(error, (ProxyError, CaseError, InstanceError, CutStoreError, DomainError)):
        return BAD_DATA
    return UNAVAILABLE if isinstance(error, SolverUnavailableError) else USAGE


if __name__ == "__main__":
    main()
