"""Exact mixed-integer encodings; importing the package registers every family of problems."""

from encoding import dcopf

__all__ = ["dcopf"]
