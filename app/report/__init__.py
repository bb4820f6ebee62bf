"""Reports; importing the package registers every family of problems."""

from app.report import dcopf, knapsack

__all__ = ["dcopf", "knapsack"]
