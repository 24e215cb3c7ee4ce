"""Bounds of the Jacobian of a layered network, whatever its argument or within a box.

Dimension letters: D input, E output, H units of a layer, V choices of slopes.
"""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from integrand.core.analysis.layered_network import Layered
from integrand.core.fields.spectral_norm import spectral_norm_bound

Slopes = Sequence[tuple[Tensor, Tensor]]
"""The least and the most slopes of every layer's units, (H,) each."""

MOST_UNDECIDED = 12
"""Units whose slopes are tried out in all combinations: 4096 of them."""

MOST_NUMBERS = 8_000_000
"""Of all those combinations' matrices together."""

EXACT_WIDTH = 512
"""The widest matrix whose norm is that of its decomposition; of wider ones it is bounded by products."""


def norm_bounds(net: Layered, slopes: Slopes, *, steps: int = 40) -> dict[str, float]:
    """Return bounds of the spectral norm of J = A + W_n S_(n-1) ... S_1 W_1 by name, for slopes within their ranges.

    ``"product of norms"``: |A| + |W_n| ... |W_1| with each layer's steepest slope in between.

    ``"absolute values"``: the norm of |A| + |W_n| s ... s |W_1| with the absolute values of the entries, s of each
    unit; since |B| <= ||B|| for the matrix ||B|| of absolute values.

    ``"averaged activations"``: S_k = C_k + R_k^(1/2) E_k R_k^(1/2) with the middles C_k and half-widths R_k of the
    ranges and |E_k| <= 1. Multiplied out, this leaves one matrix without any E_k and products of matrices between,

        |J| <= a_n,      a_m = sum over j < m of a_j |T_m R_m^(1/2) W_m C_(m-1) ... C_(j+1) W_(j+1) R_j^(1/2) T_j^-1|,

    a_0 = 1, with A added to the matrix from 0 to n. T_k is any positive diagonal matrix, as it commutes with E_k: once
    the identity, and once (``"averaged activations, scaled units"``) what balances rows of W_k against columns of
    W_(k+1), made better by ``steps`` of descent.

    ``"multipliers"``, for one hidden layer: with a positive diagonal matrix M and any u and q,

        2 u^T W_2 R E W_1 q  <=  u^T W_2 R M^-1 R W_2^T u + q^T W_1^T M W_1 q,

    so that |J| is at most the largest eigenvalue of [[W_1^T M W_1, J_0^T], [J_0, W_2 R M^-1 R W_2^T]], J_0 the matrix
    without E. M is made better by ``steps`` of descent, too; any one gives a valid bound.

    ``"all slopes"``: J is linear in the slopes of each layer, so that its norm is largest at an end of every range. All
    combinations are tried where they are few; this is the least bound that ranges of slopes allow.

    Of a single matrix it is the norm. All are rounded up by more than rounding can have taken from them.

    Source: product: Szegedy, Zaremba, Sutskever, Bruna, Erhan, Goodfellow and Fergus (2014), Intriguing properties of
    neural networks, Section 4.3; averaged activations: Combettes and Pesquet (2020), Lipschitz certificates for layered
    network structures driven by averaged activation operators, of ours T_k and ranges of each unit; multipliers:
    Fazlyab, Robey, Hassani, Morari and Pappas (2019), Efficient and accurate estimation of Lipschitz constants for deep
    neural networks, with diagonal ones alone; all slopes: Virmaux and Scaman (2018), Lipschitz regularity of deep
    neural networks.
    """
    with torch.no_grad():
        product = _product(net, slopes)
        found = {"product of norms": product, "absolute values": _norm(_absolute(net, slopes)).item()}
        if len(net.weights) == 1:
            found = {"norm of the matrix": _norm(mean_and_rest(net, slopes)[0]).item()}
        else:
            mean, rest = mean_and_rest(net, slopes)
            found["averaged activations"] = (_norm(mean) + rest).item()
            deep = len(net.weights) > 2  # with one hidden layer multipliers are better than any scales
            mean, rest = mean_and_rest(net, slopes, balanced_scales(net, slopes, steps=steps if deep else 0))
            found["averaged activations, scaled units"] = (_norm(mean) + rest).item()
            if not deep:
                logs = best_multipliers(net, slopes, steps=steps, symmetric=False)
                found["multipliers"] = with_multipliers(net, slopes, logs, symmetric=False).item()
            matrices = every_jacobian(net, slopes)
            if matrices is not None:
                found["all slopes"] = torch.linalg.matrix_norm(matrices, ord=2).max().item()
        slack = rounding(net, slopes)
    return {name: value + slack for name, value in found.items()}


def measure_bound(net: Layered, slopes: Slopes, *, steps: int = 40) -> float:
    """Return a bound of the largest eigenvalue of (J + J^T) / 2, for slopes within their ranges; J is square.

    With the parts of J as in ``norm_bounds``, the eigenvalue is at most that of the matrix without any E_k plus the
    norms of the others; with one hidden layer it is at most that of J_0 + (W_2 R M^-1 R W_2^T + W_1^T M W_1) / 2; and,
    as it is convex in J, it is largest at an end of every range, which is tried out where that is possible.
    """
    with torch.no_grad():
        bounds, deep = [], len(net.weights) > 2
        for scales in (None, balanced_scales(net, slopes, steps=steps if deep else 0)):
            mean, rest = mean_and_rest(net, slopes, scales)
            bounds.append((largest_symmetric(mean) + rest).item())
        if len(net.weights) == 2:
            logs = best_multipliers(net, slopes, steps=steps, symmetric=True)
            bounds.append(with_multipliers(net, slopes, logs, symmetric=True).item())
        matrices = every_jacobian(net, slopes)
        if matrices is not None:
            bounds.append(largest_symmetric(matrices).max().item())
        return min(bounds) + rounding(net, slopes)


def largest_symmetric(matrices: Tensor) -> Tensor:
    """Return the largest eigenvalue of the symmetric part, (...), of matrices (..., D, D)."""
    return torch.linalg.eigvalsh((matrices + matrices.transpose(-2, -1)) / 2)[..., -1]


def mean_and_rest(net: Layered, slopes: Slopes, scales: Sequence[Tensor] | None = None) -> tuple[Tensor, Tensor]:
    """Return the Jacobian at the middle slopes, (E, D), and a bound of the norm of what may be added to it.

    Args:
        net: the network.
        slopes: its ranges.
        scales: the diagonals of T_k, see ``norm_bounds``.
    """
    count = len(net.weights)
    sizes = [net.weights[0].new_ones(())]  # a_m
    open_ends: list[Tensor] = []  # for each j < m what stands to the right of W_m
    for m, weight in enumerate(net.weights, 1):
        if m == 1:
            open_ends = [weight]
        else:
            least, most = slopes[m - 2]
            root = ((most - least) / 2).clamp(min=0).sqrt()
            enters = root if scales is None else root / scales[m - 2]
            open_ends = [weight @ (((least + most) / 2).unsqueeze(1) * each) for each in open_ends]
            open_ends.append(weight * enters)
        if m < count:
            least, most = slopes[m - 1]
            root = ((most - least) / 2).clamp(min=0).sqrt()
            leaves = (root if scales is None else root * scales[m - 1]).unsqueeze(1)
            ends = [_norm(leaves * each) for each in open_ends]
            sizes.append(torch.stack([a * norm for a, norm in zip(sizes, ends, strict=True)]).sum())
    mean, *others = open_ends
    if net.through is not None:
        mean = mean + net.through
    rest = torch.stack([a * _norm(each) for a, each in zip(sizes[1:], others, strict=True)] or [sizes[0] * 0]).sum()
    return mean, rest


def balanced_scales(net: Layered, slopes: Slopes, *, steps: int) -> list[Tensor]:
    """Return diagonals of T_k with a small rest, see ``mean_and_rest``; any positive ones give a valid bound."""
    logs = []
    for before, after in zip(net.weights, net.weights[1:], strict=False):
        ratio = after.norm(dim=0).clamp(min=1e-12) / before.norm(dim=1).clamp(min=1e-12)
        logs.append((ratio.log() / 2).clamp(-10, 10))
    if not logs:
        return []
    if max(map(len, net.weights)) > EXACT_WIDTH:
        steps = 0

    def rest(learned: Sequence[Tensor]) -> Tensor:
        return mean_and_rest(net, slopes, [each.exp() for each in learned])[1]

    return [each.exp() for each in descend(rest, logs, steps=steps)]


def with_multipliers(net: Layered, slopes: Slopes, logs: Tensor, *, symmetric: bool) -> Tensor:
    """Return the bound of |J|, or of the largest eigenvalue of its symmetric part, that the multipliers exp(logs) give.

    The network has one hidden layer; see ``norm_bounds`` and ``measure_bound``.
    """
    first, last = net.weights
    ((least, most),) = slopes
    mean = last @ (((least + most) / 2).unsqueeze(1) * first)
    mean = mean if net.through is None else mean + net.through
    spread = last * ((most - least) / 2 * (-logs / 2).exp())
    left, right = spread @ spread.T, first.T @ (logs.exp().unsqueeze(1) * first)
    if symmetric:
        return largest_symmetric(mean + (left + right) / 2)
    return torch.linalg.eigvalsh(torch.cat([torch.cat([right, mean.T], 1), torch.cat([mean, left], 1)]))[-1]


def best_multipliers(net: Layered, slopes: Slopes, *, steps: int, symmetric: bool) -> Tensor:
    """Return logarithms of multipliers with a small bound, see ``with_multipliers``."""
    first, last = net.weights
    ((least, most),) = slopes
    reach = (last * (most - least) / 2).norm(dim=0).clamp(min=1e-6)
    start = (reach / first.norm(dim=1).clamp(min=1e-6)).log()
    if len(first) > EXACT_WIDTH:
        steps = 0
    return descend(lambda each: with_multipliers(net, slopes, each[0], symmetric=symmetric), [start], steps=steps)[0]


def descend(
    loss: Callable[[Sequence[Tensor]], Tensor], start: Sequence[Tensor], *, steps: int, rate: float = 0.05
) -> list[Tensor]:
    """Return the best that some steps of descent met; the beginning where nothing was better."""
    best, least = list(start), math.inf
    with torch.enable_grad():
        learned = [each.detach().clone().requires_grad_() for each in start]
        optimiser = torch.optim.Adam(learned, lr=rate)
        for _ in range(steps):
            value = loss(learned)
            if not value.requires_grad or not math.isfinite(value.item()):
                break
            if value.item() < least:
                best, least = [each.detach().clone() for each in learned], value.item()
            optimiser.zero_grad()
            value.backward()
            if not all(each.grad is None or bool(each.grad.isfinite().all()) for each in learned):
                break
            optimiser.step()
    return best


def every_jacobian(net: Layered, slopes: Slopes) -> Tensor | None:
    """Return the Jacobian for every choice of ends of the slopes' ranges, (V, E, D); None where they are too many."""
    open_units = [int((most > least).sum()) for least, most in slopes]
    undecided, width = sum(open_units), max(len(weight) for weight in net.weights)
    choices = 2**undecided if undecided <= MOST_UNDECIDED else math.inf
    if choices * width * net.weights[0].shape[1] > MOST_NUMBERS:
        return None
    numbers = torch.arange(2**undecided, device=net.weights[0].device).unsqueeze(1)
    product, used = net.weights[0].unsqueeze(0), 0
    for weight, (least, most), count in zip(net.weights[1:], slopes, open_units, strict=True):
        chosen, units = least.expand(2**undecided, -1).clone(), most > least
        places = used + torch.arange(count, device=numbers.device)
        chosen[:, units] = torch.where((numbers >> places) & 1 == 1, most[units], least[units])
        used += count
        product = weight @ (chosen.unsqueeze(2) * product)
    return product if net.through is None else product + net.through


def rounding(net: Layered, slopes: Slopes) -> float:
    """Return more than rounding can change in sums of products of these matrices."""
    width = max(max(weight.shape) for weight in net.weights)
    return 32 * torch.finfo(net.weights[0].dtype).eps * width * len(net.weights) * _product(net, slopes)


def _product(net: Layered, slopes: Slopes) -> float:
    size = 1.0
    for weight in net.weights:
        size *= _norm(weight).item()
    for least, most in slopes:
        size *= torch.maximum(least.abs(), most.abs()).max().item()
    return size + (0.0 if net.through is None else _norm(net.through).item())


def _absolute(net: Layered, slopes: Slopes) -> Tensor:
    product = net.weights[0].abs()
    for weight, (least, most) in zip(net.weights[1:], slopes, strict=True):
        product = weight.abs() @ (torch.maximum(least.abs(), most.abs()).unsqueeze(1) * product)
    return product if net.through is None else product + net.through.abs()


def _norm(matrix: Tensor) -> Tensor:
    """Return the spectral norm, or for large matrices a bound of it."""
    if min(matrix.shape) > EXACT_WIDTH:
        return spectral_norm_bound(matrix)
    return torch.linalg.matrix_norm(matrix, ord=2)
