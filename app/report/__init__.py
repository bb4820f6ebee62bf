"""Reports; importing the package registers every family of problems."""

from app.report import dcopf

__all__ = ["dcopf"]
