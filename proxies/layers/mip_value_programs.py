"""A batch of elastic mixed-integer programs, checked once: shapes, finiteness, which parameters are shared."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from proxies.errors import IntegerProgramError
from solvers.elastic_program import ElasticProgram

# Dimensions of a parameter that is shared by the batch; one more where every program has its own.
OWN_DIMENSIONS = {"c": 1, "A": 2, "b": 1}


@dataclass(frozen=True)
class MipPrograms:
    """min c'x + penalty's, A x + s >= b, s >= 0, x in a box, some of x integer; see `solvers.elastic_program`.

    Attributes:
        c: (B, n) or (n,), A: (B, m, n) or (m, n), b: (B, m) or (m,); without gradients, as given.
        lower, upper: (n,) the box.
        integer: (n,) which columns are integer.
        penalty: (m,) price of one unit of a row's shortfall; infinite for a hard row.
        equality: (m,) which rows are equalities.
    """

    c: Tensor
    A: Tensor
    b: Tensor
    lower: Tensor
    upper: Tensor
    integer: Tensor
    penalty: Tensor
    equality: Tensor

    @classmethod
    def of(
        cls,
        c: Tensor,
        A: Tensor,
        b: Tensor,
        lower: Tensor | float,
        upper: Tensor | float,
        integer: Tensor | bool,
        penalty: Tensor | float,
        equality: Tensor | bool,
    ) -> MipPrograms:
        """Check the parameters; scalars hold for every column, or for every row.

        Raises:
            IntegerProgramError: shapes, types or devices do not fit each other; a number is not finite; an integer
                column has no finite, integral limits; the box is empty; or a penalty is not positive.
        """
        given = {"c": c, "A": A, "b": b}
        shapes = ", ".join(f"{name} {tuple(value.shape)}" for name, value in given.items())
        if any(value.ndim - OWN_DIMENSIONS[name] not in (0, 1) for name, value in given.items()):
            raise IntegerProgramError(f"c, A and b need 1, 2 and 1 axes, one more with a batch; got {shapes}")
        if len({(value.dtype, value.device) for value in given.values()}) > 1 or not c.is_floating_point():
            raise IntegerProgramError("c, A and b need one floating type and one device")
        n, m = c.shape[-1], b.shape[-1]
        if A.shape[-2:] != (m, n) or n == 0:
            raise IntegerProgramError(f"the last axes of c, A and b must be (n,), (m, n), (m,), n > 0; got {shapes}")
        if len({value.shape[0] for name, value in given.items() if value.ndim > OWN_DIMENSIONS[name]}) > 1:
            raise IntegerProgramError(f"c, A and b are batches of different sizes: {shapes}")
        for name, value in given.items():
            if not bool(value.detach().isfinite().all()):
                raise IntegerProgramError(f"{name} holds a number that is not finite")
        low, high = _spread("lower", lower, n), _spread("upper", upper, n)
        whole = _spread("integer", integer, n).bool()
        price, equal = _spread("penalty", penalty, m), _spread("equality", equality, m).bool()
        if bool((low > high).any()) or bool((low.isnan() | high.isnan()).any()):
            raise IntegerProgramError("a lower limit is above its upper one, or not a number: the box is empty")
        limits = torch.cat([low[whole], high[whole]])
        if not bool((limits.isfinite() & (limits == limits.round())).all()):
            raise IntegerProgramError("an integer column needs finite, integral limits; round them inward")
        if not bool((price > 0).all()):
            raise IntegerProgramError("a penalty must be positive; infinite makes a row hard")
        return cls(c.detach(), A.detach(), b.detach(), low, high, whole, price, equal)

    @property
    def batch(self) -> int:
        """How many programs there are; one where all parameters are shared."""
        sizes = (getattr(self, name).shape[0] for name, own in OWN_DIMENSIONS.items() if self._has_batch(name, own))
        return next(sizes, 1)

    def each(self) -> Iterator[ElasticProgram]:
        """Yield the programs one by one, in float64."""
        arrays = {name: getattr(self, name).double().cpu().numpy() for name in OWN_DIMENSIONS}
        fixed = [part.numpy() for part in (self.lower, self.upper, self.integer, self.penalty, self.equality)]
        for k in range(self.batch):
            own = [
                arrays[name][k] if self._has_batch(name, own) else arrays[name] for name, own in OWN_DIMENSIONS.items()
            ]
            yield ElasticProgram(*own, *fixed)

    def _has_batch(self, name: str, own: int) -> bool:
        return bool(getattr(self, name).ndim > own)


def _spread(name: str, value: Tensor | float, size: int) -> Tensor:
    """Return `value` as (size,) in float64 on the processor."""
    given = torch.as_tensor(value).detach().cpu().to(torch.float64)
    if given.shape not in ((), (size,)):
        raise IntegerProgramError(f"{name} has shape {tuple(given.shape)}; it must be () or {(size,)}")
    return given.expand(size).contiguous()
