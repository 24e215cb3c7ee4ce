"""Couplings: which point of the source each sample of data is paired with in a batch.

Dimension letters: B batch. Data are x0 (B, ...), the source is x1 (B, ...), a condition of the data (B,) or (B, ...).
"""

import inspect
import math
from abc import ABC, abstractmethod
from typing import ClassVar, NamedTuple

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from integrand.core.diffusion.sinkhorn import sinkhorn
from integrand.core.errors import InputError, unknown

HEAVIEST = 1e8
"""Most that the weight of a condition is found to be: conditions then are as good as equal."""


class Pairs(NamedTuple):
    """Data and points of the source, paired row by row.

    Attributes:
        x0: data, (B, ...), in the order in which they came.
        x1: points of the source, (B, ...).
        condition: of the data, as it came.
    """

    x0: Tensor
    x1: Tensor
    condition: Tensor | None


class Coupling(ABC):
    """A joint distribution of data and source, drawn from batch by batch: ``coupling(x0, x1, condition, generator)``.

    Data and source come as independent draws, and go as pairs. Whatever the coupling, the data and the source keep
    their own distributions, and so a flow that is trained on the pairs carries one to the other. What it changes is the
    way between: the nearer the pairs, the straighter the flow, and the fewer steps it takes to follow.

    With a condition the source must keep its distribution given the condition, for sampling draws from the source
    without regard to it. A coupling that looks at the data alone breaks this; such a one refuses conditions.

    Args of a call:
        x0: data, (B, ...).
        x1: as many points of the source, of the same shape.
        condition: of the data, with leading dimension B; None for none.
        generator: source of randomness, on the device of x0; None for torch's own.

    Returns:
        ``Pairs``, the data in the order in which they came.

    Raises:
        InputError: numbers of rows or shapes that differ; a condition where the coupling has no answer to it.
    """

    name: ClassVar[str]

    def __call__(
        self, x0: Tensor, x1: Tensor, condition: Tensor | None = None, generator: torch.Generator | None = None
    ) -> Pairs:
        """Pair a batch."""
        if x0.shape != x1.shape or x0.dim() < 2:
            raise InputError(
                f"data and source must be (B, ...) alike, got {tuple(x0.shape)} and {tuple(x1.shape)}: draw as many of "
                "the one as of the other."
            )
        if condition is not None and len(condition) != len(x0):
            raise InputError(f"there must be a condition for each of {len(x0)} samples, got {len(condition)}.")
        with torch.no_grad():
            partner = self._partner(x0, x1, condition, generator)
        return Pairs(x0, x1 if partner is None else x1[partner], condition)

    @abstractmethod
    def _partner(
        self, x0: Tensor, x1: Tensor, condition: Tensor | None, generator: torch.Generator | None
    ) -> Tensor | None:
        """Return the row of x1 for each row of x0, (B,); None where they stay as they are."""

    def _refuse(self, condition: Tensor | None) -> None:
        if condition is not None:
            raise InputError(
                f"{self.name} would pair each condition with a part of the source, which sampling does not know: take "
                "conditional_optimal_transport, or independent."
            )

    def __repr__(self) -> str:
        """Say what it was made with."""
        told = ", ".join(f"{name}={value!r}" for name, value in vars(self).items())
        return f"{type(self).__name__}({told})"


class Independent(Coupling):
    """The product of the two distributions: rows stay as they were drawn.

    Example:
        >>> Independent()(torch.zeros(2, 1), torch.tensor([[1.0], [2.0]])).x1.flatten().tolist()
        [1.0, 2.0]

    Source: Lipman, Chen, Ben-Hamu, Nickel and Le (2023), Flow matching for generative modeling.
    """

    name = "independent"

    def _partner(
        self, x0: Tensor, x1: Tensor, condition: Tensor | None, generator: torch.Generator | None
    ) -> Tensor | None:
        return None


class OptimalTransport(Coupling):
    """The permutation of the batch that has the least sum of squared distances, exactly.

    The larger the batch, the nearer it comes to the optimal transport of the distributions. Costs are formed on the
    device of the data; the assignment is found on the host, in O(B^3) at worst: some 10 ms for 256 rows, a minute for
    10,000.

    Example:
        >>> OptimalTransport()(torch.tensor([[0.0], [5.0]]), torch.tensor([[6.0], [1.0]])).x1.flatten().tolist()
        [1.0, 6.0]

    Source: Tong, Fatras, Malkin, Huguet, Zhang, Rector-Brooks, Wolf and Bengio (2024), Improving and generalizing
    flow-based generative models with minibatch optimal transport; Pooladian, Ben-Hamu, Domingo-Enrich,
    Amos, Lipman and Chen (2023), Multisample flow matching: straightening flows with minibatch couplings.
    """

    name = "optimal_transport"

    def _partner(
        self, x0: Tensor, x1: Tensor, condition: Tensor | None, generator: torch.Generator | None
    ) -> Tensor | None:
        self._refuse(condition)
        return _assigned(squared_distances(x0, x1)).to(x0.device)


class Entropic(Coupling):
    """Each sample's partner drawn from the plan of entropic optimal transport, the static Schrodinger bridge.

    With epsilon = 2 sigma^2 the pairs are the ends of the Schrodinger bridge whose reference is Brownian motion of rate
    sigma, but for the batch being finite. As epsilon falls the plan tends to that of ``OptimalTransport``, as it grows
    to ``Independent``. All is done on the device of the data.

    Args:
        epsilon: weight of the entropy, in the squared units of the data.
        tolerance: of the plan, the relative error of how often each point of the source is drawn.
        max_iterations: most iterations of Sinkhorn's algorithm for a batch.

    Raises:
        InputError: also when a batch needs more iterations.

    Source: Tong, Malkin, Fatras, Atanackovic, Zhang, Huguet, Wolf and Bengio (2024), Simulation-free Schrodinger
    bridges via score and flow matching.
    """

    name = "entropic"

    def __init__(self, epsilon: float = 2.0, *, tolerance: float = 1e-2, max_iterations: int = 2000) -> None:
        if not 0 < epsilon < math.inf:
            raise InputError(f"{self.name}: epsilon={epsilon:g} is out of range: it must be positive.")
        if not (tolerance > 0 and max_iterations >= 1):
            raise InputError(
                f"{self.name}: tolerance must be positive and max_iterations at least 1, got {tolerance:g} and "
                f"{max_iterations}."
            )
        self.epsilon, self.tolerance, self.max_iterations = epsilon, tolerance, max_iterations

    def _partner(
        self, x0: Tensor, x1: Tensor, condition: Tensor | None, generator: torch.Generator | None
    ) -> Tensor | None:
        self._refuse(condition)
        plan = sinkhorn(
            squared_distances(x0, x1), self.epsilon, tolerance=self.tolerance, max_iterations=self.max_iterations
        )
        if not float(plan.error) <= self.tolerance:
            raise InputError(
                f"{self.name}: the plan is {float(plan.error):.2g} from its marginals after {plan.iterations} "
                f"iterations: raise epsilon={self.epsilon:g}, max_iterations or tolerance."
            )
        return torch.multinomial(plan.log_conditional.exp(), 1, generator=generator).squeeze(1)


class ConditionalOptimalTransport(Coupling):
    """Optimal transport that leaves the source independent of the condition, or nearly so.

    Row by row, as they are drawn, source and condition are independent. Partners are then exchanged only between rows
    of equal conditions, where these are whole numbers, so that given each condition the source is what it was. Where
    they are real numbers the cost of an exchange has their distance added,

        |x0_i - x1_j|^2 + w |c_i - c_j|^2,

    which keeps the source independent of them on scales above that of the pairs exchanged. The weight w is given, or
    found anew in each batch so that a share r of all pairs (i, j) is no dearer than row i's own (i, i). That share
    falls as w grows, each pair leaving it at w_ij = (|x0_i - x1_i|^2 - |x0_i - x1_j|^2) / |c_i - c_j|^2, and so w is
    a quantile of these.

    Without conditions it is ``OptimalTransport``.

    Args:
        weight: w, in the squared units of the data over those of the condition; None to find it.
        share: r, in (0, 1); the smaller, the truer the source's independence.

    Raises:
        InputError: an option out of range.

    Example:
        >>> data, source = torch.tensor([[0.0], [1.0], [5.0]]), torch.tensor([[6.0], [2.0], [1.0]])
        >>> pair = ConditionalOptimalTransport()
        >>> pair(data, source, torch.tensor([0, 1, 0])).x1.flatten().tolist()
        [1.0, 2.0, 6.0]

    Source: Cheng and Schwing (2025), The curse of conditions: analyzing and improving optimal transport for conditional
    flow-based generation; the quantile is ours in place of their search.
    """

    name = "conditional_optimal_transport"

    def __init__(self, *, weight: float | None = None, share: float = 0.05) -> None:
        if weight is not None and not 0 <= weight < math.inf:
            raise InputError(f"{self.name}: weight={weight:g} is out of range: it must not be negative.")
        if not 0 < share < 1:
            raise InputError(f"{self.name}: share={share:g} is out of range: 0 < share < 1 must hold.")
        self.weight, self.share = weight, share

    def _partner(
        self, x0: Tensor, x1: Tensor, condition: Tensor | None, generator: torch.Generator | None
    ) -> Tensor | None:
        if condition is None:
            return _assigned(squared_distances(x0, x1)).to(x0.device)
        if condition.is_floating_point():
            cost, apart = squared_distances(x0, x1), squared_distances(condition, condition)
            weight = self._found(cost, apart) if self.weight is None else self.weight
            return _assigned(cost + weight * apart).to(x0.device)
        alike = condition.flatten(1) if condition.dim() > 1 else condition
        groups = torch.unique(alike, dim=0, return_inverse=True)[1].cpu()
        cost = squared_distances(x0, x1).cpu()
        partner = torch.empty(len(x0), dtype=torch.long)
        for rows in (torch.nonzero(groups == group).squeeze(1) for group in range(int(groups.max()) + 1)):
            partner[rows] = rows[_assigned(cost[rows[:, None], rows])]
        return partner.to(x0.device)

    def _found(self, cost: Tensor, apart: Tensor) -> Tensor:
        """Return the largest weight at which the share of pairs wanted is no dearer than rows' own pairs."""
        gain = cost.diagonal().unsqueeze(1) - cost
        # Of equal conditions a pair that gains stays however large the weight.
        endless = torch.where(gain >= 0, math.inf, -math.inf)
        leaves = torch.where(apart > 0, gain / apart, endless).fill_diagonal_(math.inf)
        kept = max(1, round(self.share * cost.numel()))
        return leaves.flatten().topk(kept).values[-1].clamp(0, HEAVIEST)


COUPLINGS: dict[str, type[Coupling]] = {
    kind.name: kind for kind in (Independent, OptimalTransport, Entropic, ConditionalOptimalTransport)
}
"""Couplings by name."""


def coupling(name: str, **options: float) -> Coupling:
    """Return the coupling called ``name``, made with options of its own.

    Raises:
        InputError: there is none of that name, or an option is not its own or out of range.

    Example:
        >>> coupling("entropic", epsilon=0.5)
        Entropic(epsilon=0.5, tolerance=0.01, max_iterations=2000)
    """
    if name not in COUPLINGS:
        raise unknown("coupling", name, COUPLINGS)
    kind = COUPLINGS[name]
    # Those without options have object's own __init__, whose parameters are none of theirs.
    known = list(inspect.signature(kind).parameters) if "__init__" in vars(kind) else []
    for option in options:
        if option not in known:
            raise unknown(f"option of coupling {name}", option, known)
    return kind(**options)


def squared_distances(x: Tensor, y: Tensor) -> Tensor:
    """Return |x_i - y_j|^2 for all pairs of rows, (N, M), of x (N, ...) and y (M, ...).

    Formed from products of rows after the mean of y is taken off, which loses few digits, in single precision or
    better, under autocast too; never negative.

    Example:
        >>> squared_distances(torch.tensor([[0.0], [3.0]]), torch.tensor([[1.0]]))
        tensor([[1.],
                [4.]])
    """
    wide = torch.promote_types(x.dtype, torch.float32)
    x, y = x.reshape(len(x), -1).to(wide), y.reshape(len(y), -1).to(wide)
    centre = y.mean(0)
    x, y = x - centre, y - centre
    with torch.autocast(x.device.type, enabled=False):
        return torch.addmm(y.square().sum(1) + x.square().sum(1, keepdim=True), x, y.t(), alpha=-2).clamp_min(0)


def _assigned(cost: Tensor) -> Tensor:
    """Return the column of each row in the cheapest permutation, on the host."""
    host = cost.cpu().numpy()
    if not np.isfinite(host).all():
        raise InputError("a coupling needs finite data and source, got inf or NaN among their distances: remove them.")
    return torch.from_numpy(linear_sum_assignment(host)[1])
