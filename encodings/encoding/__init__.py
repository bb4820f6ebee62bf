"""Exact mixed-integer encodings; importing the package registers every family of problems."""

from encoding import dcopf, knapsack, sort_repair

__all__ = ["dcopf", "knapsack", "sort_repair"]
