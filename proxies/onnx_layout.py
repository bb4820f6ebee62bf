"""Where the values of a sample lie in a tensor of an ONNX graph, and how its operators move them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from proxies.errors import ModelFileError
from proxies.onnx_scan import LARGEST_WIDTH

Array = NDArray[Any]
Shape = tuple[int | None, ...]

_MIXES = "mixes the samples of a batch; only a network that treats every sample alike can be encoded"


@dataclass(frozen=True)
class Layout:
    """The shape of a tensor, and its axis that counts samples; the values of a sample are in row-major order.

    Attributes:
        shape: the sizes; None for a batch of any size.
        batch: the axis of the samples, with only axes of size 1 before it; None where it is one sample.
        truth: whether the values are what a comparison gave, held as 1 for true and -1 for false.
    """

    shape: Shape
    batch: int | None
    truth: bool = False

    @property
    def sample(self) -> tuple[int, ...]:
        """The sizes of the axes that hold one sample."""
        sizes = self.shape if self.batch is None else self.shape[self.batch + 1 :]
        return tuple(size or 0 for size in sizes)

    @property
    def width(self) -> int:
        """How many values one sample has."""
        return math.prod(self.sample)

    def reshaped(self, target: Sequence[int], keep_zeros: bool = False) -> Layout:
        """Return the layout after Reshape: 0 copies a size (unless `keep_zeros`), -1 is what is left over."""
        if any(size == 0 and index >= len(self.shape) for index, size in enumerate(target)):
            raise ModelFileError("copies the size of an axis that does not exist")
        if list(target).count(-1) > 1:
            raise ModelFileError("leaves more than one size open")
        sizes = [self.shape[i] if size == 0 and not keep_zeros else size for i, size in enumerate(target)]
        if self.batch is None:
            return Layout(_filled(sizes, self.width), None)
        for axis, size in enumerate(sizes):
            # A fixed batch size may also be what is left over; a free one is either copied or left over.
            if size == -1 or size == self.shape[self.batch]:
                rest = sizes[axis + 1 :]
                if math.prod(abs(s or 0) for s in rest) == self.width or (size != -1 and -1 in rest):
                    after = _filled(rest, self.width)
                    return Layout((*sizes[:axis], self.shape[self.batch], *after), axis)
            if size != 1:
                break
        raise ModelFileError(_MIXES)

    def flattened(self, axis: int) -> Layout:
        """Return the layout after ONNX's Flatten."""
        axis += len(self.shape) if axis < 0 else 0
        if not 0 <= axis <= len(self.shape):
            raise ModelFileError("flattens from an axis that does not exist")
        before, after = self.shape[:axis], self.shape[axis:]
        if self.batch is None:
            return Layout((math.prod(size or 0 for size in before), math.prod(size or 0 for size in after)), None)
        if any(size != 1 for i, size in enumerate(before) if i != self.batch) or self.batch >= axis:
            raise ModelFileError(_MIXES)
        return Layout((self.shape[self.batch], self.width), 0)

    def transposed(self, order: Sequence[int]) -> Layout:
        """Return the layout after ONNX's Transpose, where that moves only axes of size 1."""
        if sorted(order) != list(range(len(self.shape))):
            raise ModelFileError("does not name every axis once")
        long = [axis for axis in order if self.shape[axis] != 1]
        if long != sorted(long):
            raise ModelFileError("reorders values or mixes samples; only axes of size 1 can be moved")
        batch = None if self.batch is None else list(order).index(self.batch)
        return Layout(tuple(self.shape[axis] for axis in order), batch)

    def squeezed(self, axes: Sequence[int] | None) -> Layout:
        """Return the layout after ONNX's Squeeze of `axes`, or of all axes of size 1."""
        rank = len(self.shape)
        gone = {axis + rank if axis < 0 else axis for axis in axes or ()}
        if axes is None:
            gone = {axis for axis, size in enumerate(self.shape) if size == 1}
        if any(not 0 <= axis < rank or self.shape[axis] != 1 for axis in gone):
            raise ModelFileError("removes an axis that is not of size 1")
        kept = [axis for axis in range(rank) if axis not in gone]
        batch = None if self.batch is None else kept.index(self.batch)
        return Layout(tuple(self.shape[axis] for axis in kept), batch)

    def unsqueezed(self, axes: Sequence[int]) -> Layout:
        """Return the layout after ONNX's Unsqueeze at `axes`."""
        rank = len(self.shape) + len(axes)
        new = {axis + rank if axis < 0 else axis for axis in axes}
        if len(new) != len(axes) or any(not 0 <= axis < rank for axis in new):
            raise ModelFileError("adds an axis that cannot be added")
        old = [axis for axis in range(rank) if axis not in new]
        sizes: list[int | None] = [1] * rank
        for axis, size in zip(old, self.shape):
            sizes[axis] = size
        return Layout(tuple(sizes), None if self.batch is None else old[self.batch])

    def spread(self, constant: Array) -> tuple[Array, Layout]:
        """Broadcast a constant: its (width,) values for one sample, and the layout of the result."""
        extra = max(constant.ndim - len(self.shape), 0)
        layout = self.unsqueezed(range(extra))
        aligned = constant.reshape((1,) * (len(layout.shape) - constant.ndim) + constant.shape)
        lead = 0 if layout.batch is None else layout.batch + 1
        if any(size != 1 for size in aligned.shape[:lead]):
            raise ModelFileError("has a constant with values for each sample of a batch; give the same to all")
        part = aligned.reshape(aligned.shape[lead:])
        if any(mine != 1 and mine != size for mine, size in zip(part.shape, layout.sample)):
            raise ModelFileError(
                f"combines values of shape {list(layout.sample)} with a constant of shape {list(constant.shape)}"
            )
        return np.broadcast_to(part, layout.sample).reshape(-1), layout

    def times(self, inner: int, outer: int) -> Layout:
        """Return the layout of tensor @ W for a constant W of shape (inner, outer)."""
        if not self.sample or self.sample[-1] != inner or self.width != inner:
            raise ModelFileError(
                f"multiplies values of shape {list(self.sample)} by a matrix with {inner} rows; "
                "the values of one sample must be one row, as many as the matrix has rows"
            )
        return Layout((*self.shape[:-1], outer), self.batch)

    def times_from_left(self, outer: int, inner: int) -> Layout:
        """Return the layout of W @ tensor for a constant W of shape (outer, inner)."""
        column = self.sample[-2:] == (inner, 1) or self.shape == (inner,)
        if not column or self.width != inner:
            raise ModelFileError(
                f"multiplies a matrix with {inner} columns by values of shape {list(self.sample)}; those of "
                "a sample must be one column: export the network for rows (x @ W), as torch.nn.Linear does"
            )
        if len(self.shape) == 1:
            return Layout((outer,), None)
        return Layout((*self.shape[:-2], outer, 1), self.batch)


def input_layout(shape: Shape | None, contracted: int | None) -> Layout:
    """Return the layout of a graph's input.

    Args:
        shape: the declared sizes, None where one is free; None where nothing is declared.
        contracted: how many values the first matrix of the graph takes; None where there is no matrix.

    Raises:
        ModelFileError: the number of values in a sample cannot be known.
    """
    if shape is None:
        shape = (None, None)
    if not shape:
        raise ModelFileError("reads a single number without axes; export it with an input of shape (batch, n)")
    column = len(shape) == 2 and shape[1] == 1 and contracted not in (None, 1)
    if column and shape[0] in (None, contracted):
        return Layout((contracted, 1), None)
    if shape[-1] is None and contracted is not None:
        shape = (*shape[:-1], contracted)
    batch = None if len(shape) == 1 or shape[0] == 1 else 0
    layout = Layout(shape, batch)
    if None in (shape if batch is None else shape[1:]) or layout.width <= 0:
        raise ModelFileError(
            f"reads a tensor of shape {[size or '?' for size in shape]}, so the number of values in a sample "
            "is not known; export it with every axis fixed except the first"
        )
    if layout.width > LARGEST_WIDTH:
        raise ModelFileError(f"reads {layout.width} values, more than the {LARGEST_WIDTH} that can be encoded")
    return layout


def _filled(sizes: Sequence[int | None], total: int) -> Shape:
    known = math.prod(size or 0 for size in sizes if size != -1)
    left = [total // known if size == -1 and known > 0 else size for size in sizes]
    if any(size is None or size < 1 for size in left) or math.prod(s or 0 for s in left) != total:
        raise ModelFileError(f"gives {total} values the shape {list(sizes)}; {_MIXES}")
    return tuple(left)
