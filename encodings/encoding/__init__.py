"""Exact mixed-integer encodings; importing the package registers every layer and family of problems."""

from encoding import dcopf, knapsack, sign, sort_repair

__all__ = ["dcopf", "knapsack", "sign", "sort_repair"]
