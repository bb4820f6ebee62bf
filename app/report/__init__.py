"""Reports; importing the package registers every family of problems."""

from app.report import classification, dcopf, knapsack

__all__ = ["classification", "dcopf", "knapsack"]
