"""CombOptNet's published accuracies, in percent: mean and standard deviation over restarts.

Source: Paulus et al. 2021, CombOptNet, Tab. 1, 3-5, 7-9. Gurobi on CPUs and a Tesla V100: training took 1 h 30 min for
random constraints and set covering, 3 h 50 min for the knapsack, 5 h 30 min for keypoint matching (Tab. 3).
"""

from __future__ import annotations

Figure = tuple[float, float]

# Tab. 4: (kind, true constraints, learned for each true one).
RANDOM: dict[tuple[str, int, int], Figure] = {
    ("binary", 1, 1): (97.8, 0.7),
    ("binary", 2, 1): (94.2, 10.1),
    ("binary", 4, 1): (77.4, 13.5),
    ("binary", 8, 1): (46.5, 12.4),
    ("binary", 1, 2): (97.3, 0.9),
    ("binary", 2, 2): (95.1, 1.6),
    ("binary", 4, 2): (87.8, 5.2),
    ("binary", 8, 2): (63.1, 7.0),
    ("binary", 1, 4): (96.9, 0.7),
    ("binary", 2, 4): (95.1, 1.2),
    ("binary", 4, 4): (88.7, 2.3),
    ("binary", 8, 4): (77.7, 3.2),
    ("dense", 1, 1): (87.3, 2.5),
    ("dense", 2, 1): (70.2, 11.6),
    ("dense", 4, 1): (29.6, 10.4),
    ("dense", 8, 1): (2.3, 1.2),
    ("dense", 1, 2): (87.8, 1.7),
    ("dense", 2, 2): (73.4, 2.4),
    ("dense", 4, 2): (32.7, 7.6),
    ("dense", 8, 2): (2.4, 0.8),
    ("dense", 1, 4): (85.0, 2.6),
    ("dense", 2, 4): (64.6, 3.9),
    ("dense", 4, 4): (28.3, 2.7),
    ("dense", 8, 4): (2.9, 1.3),
}

# Tab. 5: (elements, learned for each true one).
COVERING: dict[tuple[int, int], Figure] = {
    (4, 1): (100, 0.0),
    (6, 1): (97.2, 6.4),
    (8, 1): (79.7, 12.1),
    (10, 1): (56.7, 14.8),
    (4, 2): (100, 0.0),
    (6, 2): (99.5, 1.9),
    (8, 2): (99.3, 0.8),
    (10, 2): (80.4, 13.0),
    (4, 4): (100, 0.0),
    (6, 4): (99.9, 0.0),
    (8, 4): (97.9, 6.4),
    (10, 4): (85.2, 8.1),
}

# Tab. 7: by learned constraints.
KNAPSACK: dict[int, Figure] = {1: (64.7, 2.8), 2: (63.5, 3.7), 4: (65.7, 3.1), 8: (62.6, 4.4)}

# Tab. 1: share of variables met, by keypoints a side; of CombOptNet, and of BB-GM (unary), which knows the constraints.
KEYPOINTS: dict[int, tuple[float, float]] = {4: (83.1, 84.3), 5: (80.7, 81.6), 6: (78.6, 79.0), 7: (76.1, 76.5)}

# Tab. 8 and 9: (task, variant) by true constraints; the default is in RANDOM and COVERING.
ABLATION: dict[tuple[str, str], dict[int, Figure]] = {
    ("binary", "origin corner"): {1: (97.4, 1.0), 2: (94.9, 7.0), 4: (59.0, 26.8), 8: (26.9, 10.3)},
    ("binary", "origin centre"): {1: (98.0, 0.5), 2: (97.1, 0.6), 4: (70.5, 19.1), 8: (44.6, 5.9)},
    ("binary", "canonical basis"): {1: (96.3, 1.9), 2: (70.8, 4.1), 4: (14.4, 3.2), 8: (2.7, 0.9)},
    ("binary", "hard minimum"): {1: (97.8, 0.7), 2: (83.1, 13.2), 4: (55.4, 18.9), 8: (37.7, 8.7)},
    ("binary", "tau 1"): {1: (97.8, 0.7), 2: (95.7, 2.2), 4: (70.2, 14.1), 8: (36.0, 9.7)},
    ("dense", "origin corner"): {1: (86.7, 3.0), 2: (74.6, 3.6), 4: (32.6, 13.7), 8: (2.8, 0.5)},
    ("dense", "origin centre"): {1: (83.0, 6.1), 2: (43.8, 13.2), 4: (11.6, 3.1), 8: (1.1, 0.5)},
    ("dense", "canonical basis"): {1: (88.6, 1.4), 2: (71.6, 1.6), 4: (26.8, 4.1), 8: (4.0, 0.7)},
    ("dense", "hard minimum"): {1: (87.3, 2.5), 2: (70.8, 15.1), 4: (21.4, 10.7), 8: (2.2, 2.1)},
    ("dense", "tau 1"): {1: (87.3, 2.5), 2: (73.0, 12.1), 4: (31.9, 11.7), 8: (2.2, 1.5)},
    ("covering", "origin corner"): {4: (99.4, 2.9), 6: (94.1, 16.4), 8: (78.5, 15.7), 10: (47.7, 17.9)},
    ("covering", "canonical basis"): {4: (8.4, 13.3), 6: (2.0, 2.6), 8: (0.2, 0.3), 10: (0.0, 0.1)},
    ("covering", "hard minimum"): {4: (88.2, 13.4), 6: (64.3, 14.6), 8: (45.1, 14.1), 10: (32.3, 17.4)},
    ("covering", "tau 1"): {4: (99.9, 0.4), 6: (95.6, 9.6), 8: (70.3, 15.5), 10: (51.2, 16.4)},
    ("covering", "tau 2"): {4: (98.8, 3.1), 6: (90.6, 14.3), 8: (66.4, 12.5), 10: (51.2, 9.5)},
    ("covering", "tau 5"): {4: (97.5, 11.1), 6: (90.2, 9.1), 8: (64.2, 11.8), 10: (49.7, 10.4)},
}
