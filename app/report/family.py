"""What a family of problems adds to a report: its question, setting and worst case; its own answer where it has one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import singledispatch

import numpy as np

from app.report import figures, sentences
from app.words import words
from problems.domain import Domain
from problems.interval import Interval, Vector
from problems.parametric import ParametricProblem
from proxies.proxy import Proxy
from verifier.result import Result, Witness


@dataclass(frozen=True)
class Row:
    """A line of a table: a label, and its cells."""

    label: str
    cells: tuple[str, ...]


@dataclass(frozen=True)
class WorstCase:
    """The page's part on a witness.

    Attributes:
        where: in the domain it lies, in one figure.
        place: what that figure is, and what else is to be said of it.
        template: file in `templates` that tells and draws the rest.
        content: what the template asks for.
    """

    where: str
    place: str
    template: str
    content: Mapping[str, object]


@singledispatch
def question(problem: ParametricProblem, domain: Domain) -> str:
    """Return the question that a result answers, in one sentence."""
    raise NotImplementedError(f"no report for the problem type {type(problem).__name__}")


@singledispatch
def setting(problem: ParametricProblem, proxy: Proxy, domain: Domain) -> str:
    """Describe domain, problem and proxy in a few sentences."""
    raise NotImplementedError(f"no report for the problem type {type(problem).__name__}")


@singledispatch
def worst_case(problem: ParametricProblem, proxy: Proxy, domain: Domain, witness: Witness) -> WorstCase:
    """Return what the page tells and draws of the worst case found."""
    raise NotImplementedError(f"no report for the problem type {type(problem).__name__}")


@singledispatch
def answer(problem: ParametricProblem, result: Result) -> str:
    """Return the certified interval in one sentence."""
    return sentences.answer(result, words(problem).worse)


@singledispatch
def sampling(problem: ParametricProblem, result: Result, gaps: Vector) -> str:
    """Compare the largest gap of random inputs ((count,)) with the worst case, in one or two sentences."""
    return sentences.sampling(result, gaps)


@singledispatch
def samples_figure(problem: ParametricProblem, result: Result, gaps: Vector) -> str:
    """Draw the gaps of random inputs ((count,)) beside the bounds; "" where there is nothing to draw."""
    return figures.sampled(gaps, result.lower, result.upper, result.unit) if np.any(gaps > 0) else ""


def network_in_words(proxy: Proxy) -> str:
    """Describe the network before the repair layers by its hidden layers."""
    kinds = [type(layer).__name__ for layer in proxy.layers]
    told = []
    for name, word in (("Relu", "ReLU"), ("Sign", "sign")):
        hidden = [str(size) for kind, size in zip(kinds, proxy.sizes[1:]) if kind == name]
        told += [f"{' and '.join(hidden)} hidden {word} units"] if hidden else []
    return f"a network with {' and '.join(told) or 'no hidden units'}"


def input_range(domain: Domain) -> Interval:
    """Return the smallest and largest value of every input over the latent box."""
    up, down = domain.matrix.maximum(0), domain.matrix.minimum(0)
    low, high = domain.box.lower, domain.box.upper
    return Interval(up @ low + down @ high + domain.shift, up @ high + down @ low + domain.shift)
