"""Printed bounds are never inside of the number, and no further outside than one unit of the last digit."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from verifier.rounding import DOWN, NEAREST, UP, lower_amount, number, rounded, upper_amount

FLOATS = st.floats(allow_nan=False, allow_infinity=False)
ODD = [0.0, -0.0, 5e-324, -5e-324, 2.2e-308, 0.1, 999.96, 9999.5, 1e15, 1e28, 1e69, 1.7976931348623157e308]


@given(FLOATS, st.integers(1, 17), st.booleans(), st.sampled_from([0, 2]))
def test_text_is_outward_by_less_than_a_unit_of_the_last_digit(
    value: float, digits: int, short: bool, shift: int
) -> None:
    exact = Decimal(repr(value)).scaleb(shift)
    size = exact.adjusted() if exact else 0
    last = Decimal(1).scaleb(size - digits + 1 if size >= 15 else min(0, size - digits + 1))
    for rounding, sign in ((UP, 1), (DOWN, -1)):
        text = number(value, digits, rounding, shift, short=short).replace(",", "")
        told = Decimal(text)
        assert 0 <= sign * (told - exact) < last
        if shift == 0:
            assert sign * (float(text) - value) >= 0
    assert abs(Decimal(number(value, digits, NEAREST, shift).replace(",", "")) - exact) * 2 <= last


@given(FLOATS, st.sampled_from(["$/h", "value", "score", "1"]), st.integers(1, 10))
@example(1e308, "1", 4)
@example(-5e-324, "score", 4)
def test_amounts_have_a_unit_and_hold_the_number(value: float, unit: str, digits: int) -> None:
    share = 100 if unit == "1" else 1
    for amount, sign in ((upper_amount, 1), (lower_amount, -1)):
        text, _, told = amount(value, unit, digits).partition(" ")
        assert told == ("%" if unit == "1" else unit)
        assert sign * (Decimal(text.replace(",", "")) - share * Decimal(repr(value))) >= 0


@pytest.mark.parametrize("value", [*ODD, *(-value for value in ODD)])
def test_odd_numbers_are_short(value: float) -> None:
    for rounding in (UP, DOWN, NEAREST):
        for digits in (1, 4, 8):
            assert len(number(value, digits, rounding)) <= 22


@pytest.mark.parametrize(
    ("value", "upper", "lower"),
    [
        (2903.27, "2,904 $/h", "2,903 $/h"),
        (2903.0, "2,903 $/h", "2,903 $/h"),
        (0.1, "0.1 $/h", "0.1 $/h"),
        (17.0412, "17.05 $/h", "17.04 $/h"),
        (-17.0412, "-17.04 $/h", "-17.05 $/h"),
        (999.96, "1,000 $/h", "999.9 $/h"),
        (1e28, "1e+28 $/h", "1e+28 $/h"),
        (1.23456e69, "1.235e+69 $/h", "1.234e+69 $/h"),
        (0.0, "0 $/h", "0 $/h"),
        (-1e-300, "-1e-300 $/h", "-1e-300 $/h"),
        (1.00001e-7, "1.001e-7 $/h", "1e-7 $/h"),
        (float("inf"), "unknown", "unknown"),
        (float("nan"), "unknown", "unknown"),
    ],
)
def test_bounds_read_well(value: float, upper: str, lower: str) -> None:
    assert (upper_amount(value, "$/h"), lower_amount(value, "$/h")) == (upper, lower)


def test_shares_are_rounded_as_per_cent() -> None:
    assert (upper_amount(0.080401, "1"), lower_amount(0.080401, "1")) == ("8.041 %", "8.04 %")
    assert upper_amount(1e308, "1") == "1e+310 %"
    assert number(float("nan")) == "not a number"
    assert number(-float("inf")) == "-∞"
    assert rounded(-0.0, 4, DOWN) == 0
