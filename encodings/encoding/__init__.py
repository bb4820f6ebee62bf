"""Exact mixed-integer encodings; importing the package registers every layer and family of problems."""

from encoding import classification, dcopf, knapsack, sign, sort_repair

__all__ = ["classification", "dcopf", "knapsack", "sign", "sort_repair"]
