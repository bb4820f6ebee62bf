"""Solvers are found by name, described without a licence, and replaced only where a licence refuses."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from scipy import sparse

from solvers.errors import SolverLimitError, SolverUnavailableError
from solvers.linear_model import LinearModel
from solvers.registry import describe_solvers, licence, open_session, open_session_or_default
from solvers.session import Capability


def ones(columns: int) -> LinearModel:
    """Minimise the sum of columns between 1 and 2."""
    one, none = np.ones(columns), np.zeros(0)
    rows = sparse.csr_array((0, columns))
    return LinearModel(one, rows, none, none, one, 2 * one, np.zeros(columns, dtype=bool))


def test_model_above_the_free_gurobi_licence_falls_back_to_highs() -> None:
    pytest.importorskip("gurobipy", reason="gurobi IS NOT TESTED: its package is not installed")
    if "any size" in licence("gurobi"):
        pytest.skip("A FULL GUROBI LICENCE IS HERE: its size limit cannot be tested")
    wide = ones(2001)
    with pytest.raises(SolverLimitError, match=r"2001 columns and 0 rows.*--solver highs"):
        open_session("gurobi", wide)
    session, why = open_session_or_default("gurobi", wide)
    assert session.name == "highs"
    assert why is not None
    assert "2001 columns" in why
    assert "HiGHS" in why
    assert session.solve().objective == pytest.approx(2001.0)


def test_fall_back_is_for_licences_only() -> None:
    model = ones(2)
    assert open_session_or_default("highs", model)[1] is None
    with pytest.raises(SolverUnavailableError, match=r"known are highs, gurobi, scip, pyomo:"):
        open_session_or_default("cplexx", model)
    with pytest.raises(SolverUnavailableError, match="nosuchsolver"):
        open_session_or_default("pyomo:nosuchsolver", model)


def test_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gurobipy", None)
    with pytest.raises(SolverUnavailableError, match=r"pip install 'certigap-server\[gurobi\]'"):
        open_session_or_default("gurobi", ones(2))
    gurobi = next(info for info in describe_solvers() if info.name == "gurobi")
    assert not gurobi.available
    assert "pip install" in gurobi.reason


def test_description_takes_no_gurobi_licence(monkeypatch: pytest.MonkeyPatch) -> None:
    gurobipy = pytest.importorskip("gurobipy", reason="gurobi IS NOT TESTED: its package is not installed")

    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("a licence was taken")

    monkeypatch.setattr(gurobipy, "Env", refuse)
    infos = {info.name: info for info in describe_solvers()}
    assert infos["highs"].available
    assert infos["gurobi"].available
    assert Capability.WARM_RESOLVE not in infos["scip"].capabilities
    assert Capability.DUAL_BOUND not in infos["pyomo:glpk"].capabilities
