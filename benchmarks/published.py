"""The published figures that our tables are printed beside, as data.

Source: Chen et al. 2024, Tables 2 to 7 (Gurobi 10, 16 threads, 6 hours; its networks are not published, so its
objectives are those of other networks). Keys are the number of buses or items and u in percent; None: not within 6
hours.
"""

from __future__ import annotations

from typing import NamedTuple

Key = tuple[str, int]


class Attack(NamedTuple):
    """One row of Tables 4 and 7: objectives in $/h, times in s.

    Attributes:
        pga, pga_seconds: of PGA-VFA.
        compact, compact_seconds: of the compact MILP, started at the nominal load.
        reach_seconds: until the compact MILP has an objective like that of PGA-VFA ("T2PGA").
    """

    pga: float
    pga_seconds: float
    compact: float
    compact_seconds: float | None
    reach_seconds: float | None


class Open(NamedTuple):
    """One row of Table 3, after 6 hours: primal bounds in thousand $/h, dual bounds in million $/h."""

    bilevel_primal: float
    compact_primal: float
    bilevel_dual: float
    compact_dual: float


class Start(NamedTuple):
    """One row of Table 5: objectives in $/h of PGA-VFA, and of the MILP started at the nominal load or at PGA-VFA's."""

    pga: float
    nominal: float
    started: float


class Knapsack(NamedTuple):
    """One row of Table 6: what is left between the bounds in percent, and seconds."""

    gap: float
    seconds: float | None


# Table 2: seconds of the bilevel and the compact formulation.
SECONDS: dict[Key, tuple[float, float]] = {
    ("57", 0): (0.4, 0.3),
    ("57", 1): (0.6, 0.6),
    ("57", 2): (0.6, 0.5),
    ("57", 5): (1.9, 1.1),
    ("57", 10): (1.2, 1.2),
    ("57", 20): (0.7, 0.5),
    ("118", 0): (1.7, 1.2),
    ("118", 1): (3.9, 2.1),
    ("118", 2): (4.7, 3.1),
    ("118", 5): (28.4, 12.1),
    ("118", 10): (18.7, 14.1),
    ("118", 20): (76.8, 59.4),
    ("300", 0): (119.8, 63.4),
    ("300", 1): (298.6, 166.0),
    ("300", 2): (1302.7, 420.8),
    ("300", 5): (17585.4, 10507.9),
}
# Table 2: average speed-up of the compact formulation in percent (averaged over seeds, so not the ratio of the times).
SPEEDUP: dict[Key, float] = {
    ("57", 0): 22.9,
    ("57", 1): -3.4,
    ("57", 2): 10.4,
    ("57", 5): 75.8,
    ("57", 10): -1.7,
    ("57", 20): 27.6,
    ("118", 0): 43.3,
    ("118", 1): 89.7,
    ("118", 2): 53.6,
    ("118", 5): 135.2,
    ("118", 10): 32.4,
    ("118", 20): 29.3,
    ("300", 0): 88.9,
    ("300", 1): 79.9,
    ("300", 2): 209.5,
    ("300", 5): 67.4,
}
# Table 3.
OPEN: dict[Key, Open] = {
    ("300", 10): Open(466.76, 596.98, 4.45, 3.82),
    ("300", 20): Open(410.19, 582.81, 10.79, 9.29),
    ("1354", 0): Open(94.22, 360.03, 29.64, 26.00),
    ("1354", 1): Open(84.44, 365.50, 36.35, 35.39),
    ("1354", 2): Open(50.12, 369.68, 47.64, 45.13),
    ("1354", 5): Open(54.32, 371.52, 78.79, 74.31),
    ("1354", 10): Open(46.63, 353.20, 135.32, 129.99),
    ("1354", 20): Open(49.52, 359.72, 249.02, 235.79),
}
# Table 7 (57, 118) and Table 4 (300, 1354).
ATTACK: dict[Key, Attack] = {
    ("57", 0): Attack(127.36, 2.17, 141.36, 0.31, 0.10),
    ("57", 1): Attack(137.35, 1.44, 142.29, 0.59, 0.11),
    ("57", 2): Attack(143.70, 4.31, 151.54, 0.54, 0.12),
    ("57", 5): Attack(171.53, 3.35, 179.12, 1.10, 1.10),
    ("57", 10): Attack(175.89, 2.28, 432.20, 1.21, 1.10),
    ("57", 20): Attack(1527.72, 5.59, 3837.33, 0.54, 0.30),
    ("118", 0): Attack(752.29, 1.43, 6216.97, 1.20, 0.74),
    ("118", 1): Attack(4615.37, 6.96, 7917.56, 2.07, 1.17),
    ("118", 2): Attack(4615.37, 7.61, 9607.68, 3.08, 2.00),
    ("118", 5): Attack(4615.37, 4.44, 14329.88, 12.08, 3.00),
    ("118", 10): Attack(5448.69, 6.26, 68556.32, 14.14, 6.67),
    ("118", 20): Attack(6048.77, 9.04, 69109.46, 59.41, 17.27),
    ("300", 0): Attack(544923.75, 4.53, 546038.13, 63.41, 52.06),
    ("300", 1): Attack(562348.33, 7.09, 564263.39, 166.01, 114.79),
    ("300", 2): Attack(572166.01, 37.30, 572464.17, 420.83, 307.40),
    ("300", 5): Attack(572166.01, 49.26, 651163.59, 10507.88, 872.25),
    ("300", 10): Attack(572166.01, 41.41, 596983.07, None, 2646.21),
    ("300", 20): Attack(572166.01, 17.86, 582808.23, None, 2646.28),
    ("1354", 0): Attack(380673.60, 67.26, 360031.97, None, None),
    ("1354", 1): Attack(399441.04, 63.54, 365497.51, None, None),
    ("1354", 2): Attack(403725.74, 41.98, 369678.23, None, None),
    ("1354", 5): Attack(403725.74, 31.88, 371524.52, None, None),
    ("1354", 10): Attack(571252.51, 85.88, 353196.16, None, None),
    ("1354", 20): Attack(571252.51, 76.43, 359722.30, None, None),
}
# Table 5.
START: dict[Key, Start] = {
    ("300", 0): Start(544923.75, 546038.13, 546038.13),
    ("300", 1): Start(562348.32, 564263.39, 564263.44),
    ("300", 2): Start(572166.01, 572464.17, 572464.17),
    ("300", 5): Start(572166.01, 651163.59, 651163.38),
    ("300", 10): Start(572166.01, 596983.07, 596983.90),
    ("300", 20): Start(572166.01, 582808.23, 582808.47),
    ("1354", 0): Start(380673.60, 360031.97, 380757.88),
    ("1354", 1): Start(399441.04, 365497.51, 399579.63),
    ("1354", 2): Start(403725.74, 369678.23, 406165.38),
    ("1354", 5): Start(403725.74, 371524.52, 406164.74),
    ("1354", 10): Start(571252.51, 353196.16, 571715.99),
    ("1354", 20): Start(571252.51, 359722.30, 578732.15),
}
# Table 6.
KNAPSACK: dict[Key, Knapsack] = {
    ("10", 1): Knapsack(0.0, 0.4),
    ("10", 5): Knapsack(0.0, 0.4),
    ("10", 10): Knapsack(0.0, 0.4),
    ("10", 20): Knapsack(0.0, 0.7),
    ("50", 1): Knapsack(0.0, 89.1),
    ("50", 5): Knapsack(0.0, 117.3),
    ("50", 10): Knapsack(0.0, 642.8),
    ("50", 20): Knapsack(142.0, None),
    ("80", 1): Knapsack(0.0, 1928.3),
    ("80", 5): Knapsack(0.0, 5997.8),
    ("80", 10): Knapsack(230.0, None),
    ("80", 20): Knapsack(1350.0, None),
}
