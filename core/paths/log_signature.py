"""Log-signatures to depth 3: what a window of a path does to an equation, in as few numbers as possible."""

from itertools import combinations

import torch
from torch import Tensor

from integrand.core.errors import InputError
from integrand.core.paths.knots import merge_knots
from integrand.core.paths.linear import LinearPath
from integrand.core.paths.path import Causality, Path, rows

DEPTHS = (1, 2, 3)

Bracket = int | tuple["Bracket", "Bracket"]
"""A channel, or the commutator [a, b] of two brackets."""


def lyndon_brackets(channels: int, depth: int) -> list[Bracket]:
    """List the basis in which log-signatures are given: the Lyndon words with their standard bracketing.

    Words of one letter, then of two, then of three; in each length in the order of the alphabet. With a < b < c the
    words and their brackets are ab: [a, b]; aab: [a, [a, b]]; abb: [[a, b], b]; abc: [a, [b, c]]; acb: [[a, c], b].

    Args:
        channels: C, the size of the alphabet.
        depth: length of the longest words, 1, 2 or 3.

    Example:
        >>> lyndon_brackets(2, 3)
        [0, 1, (0, 1), (0, (0, 1)), ((0, 1), 1)]

    Source: Reutenauer (1993), Free Lie Algebras, on Lyndon words.
    """
    _check_depth(depth)
    brackets: list[Bracket] = list(range(channels))
    if depth >= 2:
        brackets += list(combinations(range(channels), 2))
    if depth >= 3:
        # The longest proper suffix that is a Lyndon word itself is the right half.
        brackets += [(a, (b, c)) if b < c else ((a, b), c) for a, b, c in _words(channels)]
    return brackets


def _words(channels: int) -> list[tuple[int, int, int]]:
    """List the Lyndon words of three letters: the first is least, and nothing but the word itself begins as low."""
    letters = range(channels)
    return [(a, b, c) for a in letters for b in letters[a:] for c in letters[a + 1 :]]


def log_signature_dimension(channels: int, depth: int) -> int:
    """Return the number of Lyndon words up to a length, K.

    With mu the Moebius function there are (1/k) sum_{d | k} mu(d) C^{k/d} of length k: C, then (C^2 - C) / 2, then
    (C^3 - C) / 3.

    Example:
        >>> [log_signature_dimension(6, depth) for depth in (1, 2, 3)]
        [6, 21, 91]

    Source: Witt (1937), Treue Darstellung Liescher Ringe.
    """
    _check_depth(depth)
    return sum([channels, (channels**2 - channels) // 2, (channels**3 - channels) // 3][:depth])


def log_signature(points: Tensor, depth: int) -> Tensor:
    """Compute the logarithm of the signature of the straight lines through points, in the Lyndon basis.

    The signature of an increment d is exp(d) = 1 + d + d d / 2 + d d d / 6, products being tensor products, and that
    of one path after another is the product of theirs (Chen). Written out for increments d_i that start at x_i,
    measured from the first point:

        S_1 = sum_i d_i
        S_2 = sum_i (x_i + d_i / 2) d_i
        S_3 = sum_i (S_2(x_i) + x_i d_i / 2 + d_i d_i / 6) d_i

    with S_2(x_i) the level 2 up to x_i. The logarithm is S - S^2 / 2 + S^3 / 3, S without its 1:

        L_1 = S_1,   L_2 = S_2 - S_1 S_1 / 2,   L_3 = S_3 - (S_1 S_2 + S_2 S_1) / 2 + S_1 S_1 S_1 / 3

    The coefficient of a Lyndon word in L is that of its bracket, but for acb, whose word is in the bracket of abc too.

    Args:
        points: (..., n, C); a repeated point changes nothing.
        depth: 1, 2 or 3.

    Returns:
        Coefficients of ``lyndon_brackets(C, depth)``, (..., K).

    Example:
        >>> corner = torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0]])
        >>> log_signature(corner, 2).tolist()
        [1.0, 1.0, 0.5]

    Source: Chen (1957), Integration of paths, geometric invariants and a generalized Baker-Hausdorff formula;
    Reizenstein and Graham (2020), Algorithm 1004: the iisignature library.
    """
    _check_depth(depth)
    d, x = points.diff(dim=-2), (points - points[..., :1, :])[..., :-1, :]
    s1 = d.sum(dim=-2)
    if depth == 1:
        return s1
    channels = points.shape[-1]
    steps = _outer(x + d / 2, d)
    s2 = steps.sum(dim=-3)
    l2 = s2 - _outer(s1, s1) / 2
    first, second = torch.triu_indices(channels, channels, 1, device=points.device)
    levels = [s1, l2[..., first, second]]
    if depth == 3:
        before = steps.cumsum(dim=-3) - steps + _outer(x / 2 + d / 6, d)
        s3 = torch.einsum("...nab,...nc->...abc", before, d)
        mixed = s1[..., :, None, None] * s2[..., None, :, :] + s2[..., None] * s1[..., None, None, :]
        l3 = s3 - mixed / 2 + s1[..., :, None, None] * _outer(s1, s1)[..., None, :, :] / 3
        levels.append(_project(l3))
    return torch.cat(levels, dim=-1)


def _outer(a: Tensor, b: Tensor) -> Tensor:
    return a.unsqueeze(-1) * b.unsqueeze(-2)


def _project(l3: Tensor) -> Tensor:
    """Return the coefficients of the brackets of three letters in a Lie element (..., C, C, C).

    [a, [b, c]] = abc - acb - bca + cba alone of the other brackets has the word acb, so its coefficient is taken out.
    """
    channels = l3.shape[-1]
    a, b, c = torch.tensor(_words(channels), dtype=torch.int64, device=l3.device).view(-1, 3).unbind(1)
    found = l3[..., a, b, c]
    return found + torch.where(c < b, l3[..., a, c, b], 0)


def window_edges(times: Tensor, intervals: int) -> Tensor:
    """Return every so manieth knot and the last one, as edges of windows by count.

    Args:
        times: knots, (L,) or (B, L).
        intervals: intervals in a window; the last window may hold fewer.

    Example:
        >>> window_edges(torch.arange(6), 2).tolist()
        [0, 2, 4, 5]
    """
    if intervals < 1:
        raise InputError(f"a window needs at least 1 interval, got {intervals}.")
    last = times.shape[-1] - 1
    return times[..., torch.arange(0, last + intervals, intervals, device=times.device).clamp(max=last)]


def log_signatures(path: LinearPath, edges: Tensor, depth: int) -> Tensor:
    """Compute the log-signatures of all windows of a piecewise linear path at once.

    Windows need not begin or end at knots. Missing values were filled when the path was made. Run it in the dataset;
    its result is what ``LogSignaturePath`` is made of.

    Args:
        path: linear or rectilinear.
        edges: where windows end and the next begin, (W + 1,) or (B, W + 1), non-decreasing; for a rectilinear path in
            its own parameter.
        depth: 1, 2 or 3.

    Returns:
        (B, W, K).

    Example:
        >>> times = torch.arange(5.0)
        >>> path = LinearPath(torch.randn(2, 5, 3), times)
        >>> log_signatures(path, window_edges(times, 2), depth=2).shape
        torch.Size([2, 2, 6])
    """
    _check_depth(depth)
    if not isinstance(path, LinearPath):
        raise InputError(f"log-signatures are those of straight lines, got a {type(path).__name__}: give a LinearPath.")
    grid, places = merge_knots(path.times, edges.to(path.times))
    starts, ends = places[..., :-1], places[..., 1:]
    longest = int((ends - starts).max())
    inside = torch.arange(longest + 1, device=places.device)
    index = torch.minimum(starts.unsqueeze(-1) + inside, ends.unsqueeze(-1))
    points = rows(path.evaluate(grid), index.flatten(-2))
    return log_signature(points.unflatten(1, (-1, longest + 1)), depth)


class LogSignaturePath(Path):
    """A control whose increment over each window is the window's log-signature, for the log-ODE method.

    ``solve_cde`` with a field (B, H, K) solves a neural rough differential equation along it; ``solve_log_ode`` forms
    the K columns from a field (B, H, C). Causal at the edges of the windows if the path they were cut from is there.

    Args:
        coefficients: from ``log_signatures``, (B, W, K).
        times: the edges of the same windows, (W + 1,) or (B, W + 1).

    Example:
        >>> times = torch.arange(5.0)
        >>> edges = window_edges(times, 2)
        >>> path = LogSignaturePath(log_signatures(LinearPath(torch.randn(2, 5, 3), times), edges, depth=2), edges)
        >>> path.channels, path.derivative(edges).shape
        (6, torch.Size([2, 3, 6]))

    Source: Morrill et al. (2021), Neural rough differential equations for long time series.
    """

    kinks = True
    causality: Causality = "knots"
    per_interval = True

    @property
    def channels(self) -> int:
        """K."""
        return self.coefficients.shape[-1]

    def evaluate(self, t: Tensor, *, interval: Tensor | None = None) -> Tensor:
        """Return the sum of the log-signatures up to times (Q,) or (B, Q), a share of the last one, (B, Q, K)."""
        index, _, s = self._local(t, interval)
        return rows(self.coefficients.cumsum(dim=1), index) + (s - 1) * rows(self.coefficients, index)

    def derivative(self, t: Tensor, *, interval: Tensor | None = None) -> Tensor:
        """Return the log-signature over the length of the window that each time is in, (B, Q, K)."""
        index, h, _ = self._local(t, interval)
        return rows(self.coefficients, index) / h


def _check_depth(depth: int) -> None:
    if depth not in DEPTHS:
        raise InputError(f"depth={depth!r} is not available: take {', '.join(map(str, DEPTHS))}.")
