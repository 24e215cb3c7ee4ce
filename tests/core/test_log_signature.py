"""Log-signatures against the tensor algebra in exact fractions, areas, and laws; the log-ODE method where it is exact.

The oracle shares nothing with the code under test: it multiplies exponentials segment by segment as dictionaries from
words to fractions, takes the logarithm's power series, and finds the coefficients of the brackets by expanding each
bracket into words and solving for them.
"""

from fractions import Fraction
from itertools import pairwise, product

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from integrand.core.errors import InputError
from integrand.core.numerics.solve_cde import solve_cde
from integrand.core.numerics.solve_log_ode import LieBrackets, solve_log_ode
from integrand.core.paths import (
    HermitePath,
    LinearPath,
    LogSignaturePath,
    RectilinearPath,
    log_signature,
    log_signature_dimension,
    log_signatures,
    lyndon_brackets,
    pad_times,
    rectilinear_coefficients,
    window_edges,
)

torch64 = torch.float64
Series = dict[tuple[int, ...], Fraction]
NONE = Fraction(0)

# Integer points up to 3 in size, at most 8 segments: level 3 sums about 500 products below 6^3, each with a rounding.
EXACT = {"rtol": 0, "atol": 1e-10}


def multiply(a: Series, b: Series) -> Series:
    out: Series = {}
    for (u, x), (v, y) in product(a.items(), b.items()):
        if len(u) + len(v) <= 3:
            out[u + v] = out.get(u + v, NONE) + x * y
    return out


def exponential(element: Series) -> Series:
    power: Series = {(): Fraction(1)}
    out: Series = {(): Fraction(1)}
    for n in (1, 2, 3):
        power = {w: x / n for w, x in multiply(power, element).items()}
        out = {w: out.get(w, NONE) + power.get(w, NONE) for w in out.keys() | power.keys()}
    return out


def logarithm(series: Series) -> Series:
    rest = {w: x for w, x in series.items() if w}
    power: Series = {(): Fraction(1)}
    out: Series = {}
    for n in (1, 2, 3):
        power = multiply(power, rest)
        out = {
            w: out.get(w, NONE) + Fraction((-1) ** (n + 1), n) * power.get(w, NONE) for w in out.keys() | power.keys()
        }
    return out


def signature(points: list[list[int]]) -> Series:
    out: Series = {(): Fraction(1)}
    for one, other in pairwise(points):
        out = multiply(
            out, exponential({(i,): Fraction(b - a) for i, (a, b) in enumerate(zip(one, other, strict=True))})
        )
    return out


def expand(bracket) -> Series:
    """Write a bracket as words."""
    if isinstance(bracket, int):
        return {(bracket,): Fraction(1)}
    left, right = map(expand, bracket)
    forth, back = multiply(left, right), multiply(right, left)
    return {w: forth.get(w, NONE) - back.get(w, NONE) for w in forth.keys() | back.keys()}


def words(channels: int, depth: int) -> list[tuple[int, ...]]:
    return [word for n in range(1, depth + 1) for word in product(range(channels), repeat=n)]


def expansions(channels: int, depth: int) -> np.ndarray:
    """Return a column of word coefficients for each bracket."""
    columns = [expand(bracket) for bracket in lyndon_brackets(channels, depth)]
    return np.array([[float(column.get(word, 0)) for column in columns] for word in words(channels, depth)])


def expected_log_signature(points: list[list[int]], depth: int) -> Tensor:
    channels = len(points[0])
    series = logarithm(signature(points))
    target = np.array([float(series.get(word, 0)) for word in words(channels, depth)])
    found, *_ = np.linalg.lstsq(expansions(channels, depth), target, rcond=None)
    # The logarithm is a Lie element: nothing of it is left over.
    np.testing.assert_allclose(expansions(channels, depth) @ found, target, rtol=0, atol=1e-10)
    return torch.from_numpy(found)


def walk(length: int, channels: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(-3, 4, (length, channels), generator=generator).to(torch64)


@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_equals_the_tensor_algebra_in_fractions(channels: int, depth: int):
    for length in (2, 3, 9):
        points = walk(length, channels, seed=length)
        expected = expected_log_signature(points.int().tolist(), depth)
        torch.testing.assert_close(log_signature(points, depth), expected, **EXACT)


@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("channels", [1, 2, 3, 5])
def test_brackets_are_a_basis_of_witts_dimension(channels: int, depth: int):
    """Lyndon words, found as those less than all their rotations, are as many; and the brackets are independent."""
    lyndon = [w for w in words(channels, depth) if all(w < w[i:] + w[:i] for i in range(1, len(w)))]
    assert log_signature_dimension(channels, depth) == len(lyndon) == len(lyndon_brackets(channels, depth))
    if channels <= 3:
        assert np.linalg.matrix_rank(expansions(channels, depth)) == len(lyndon)
    # A bracket's word is the least of its words, and brackets stand in the order of their words.
    assert [min(w for w, x in expand(b).items() if x) for b in lyndon_brackets(channels, depth)] == lyndon


def test_depth_one_is_the_increment():
    points = walk(9, 3)
    assert torch.equal(log_signature(points, 1), points[-1] - points[0])


def test_depth_two_is_the_area():
    """Of a closed polygon by the shoelace formula; and of any path by the double integral on a fine grid."""
    points = walk(7, 2)
    closed = torch.cat([points, points[:1]])
    x, y = closed.unbind(-1)
    shoelace = (x[:-1] * y[1:] - x[1:] * y[:-1]).sum() / 2
    torch.testing.assert_close(log_signature(closed, 2), torch.stack([0 * shoelace, 0 * shoelace, shoelace]), **EXACT)

    t = torch.linspace(0, 1, 4001, dtype=torch64)
    smooth = torch.stack([torch.sin(3 * t), t**2, torch.exp(-t)], dim=-1)
    speed = torch.stack([3 * torch.cos(3 * t), 2 * t, -torch.exp(-t)], dim=-1)
    away = smooth - smooth[0]
    area = (away.unsqueeze(-1) * speed.unsqueeze(-2) - speed.unsqueeze(-1) * away.unsqueeze(-2)) / 2
    expected = torch.trapezoid(area, t, dim=0)[[0, 0, 1], [1, 2, 2]]
    # Both are second order in steps of 1 / 4000, with second derivatives below 30.
    torch.testing.assert_close(log_signature(smooth, 2)[3:], expected, rtol=0, atol=30 / 4000**2)


def test_depth_three_is_the_iterated_integrals():
    """Of the parabola (t, t^2), in closed form.

    With S^w the iterated integrals over [0, 1]: S^1 = S^2 = 1, S^12 = int t 2t dt = 2/3, S^112 = int t^2/2 2t dt = 1/4,
    S^122 = int (2/3 t^3) 2t dt = 4/15. The word abc has the coefficient S^abc - (S^a S^bc + S^ab S^c) / 2 + 1/3 in L_3.
    """
    t = torch.linspace(0, 1, 4001, dtype=torch64)
    found = log_signature(torch.stack([t, t**2], dim=-1), 3)
    aab = 1 / 4 - (2 / 3 + 1 / 2) / 2 + 1 / 3
    abb = 4 / 15 - (1 / 2 + 2 / 3) / 2 + 1 / 3
    expected = torch.tensor([1, 1, 2 / 3 - 1 / 2, aab, abb], dtype=torch64)
    torch.testing.assert_close(found, expected, rtol=0, atol=2 / 4000**2)


@pytest.mark.parametrize("cut", [1, 4, 7])
def test_chens_identity(cut: int):
    """The exponential of a whole is the product of those of its parts."""
    points = walk(9, 3)

    def series(part: Tensor) -> Series:
        coefficients = log_signature(part, 3)
        vector = expansions(3, 3) @ coefficients.numpy()
        return exponential({w: Fraction(float(x)) for w, x in zip(words(3, 3), vector, strict=True)})

    parts = multiply(series(points[: cut + 1]), series(points[cut:]))
    whole = series(points)
    for word in words(3, 3):
        assert float(parts[word]) == pytest.approx(float(whole[word]), abs=1e-10)


def test_speed_and_place_do_not_matter():
    """Points repeated, put on the way, or all moved away change nothing; turned back, the path is the inverse."""
    points = walk(6, 3)
    expected = log_signature(points, 3)
    halfway = torch.stack([points[:-1], points[:-1] + 0.3 * points.diff(dim=0)], dim=1).flatten(0, 1)
    for other in (points.repeat_interleave(2, 0), torch.cat([halfway, points[-1:]]), points + 7):
        torch.testing.assert_close(log_signature(other, 3), expected, **EXACT)
    torch.testing.assert_close(log_signature(points.flip(0), 3), -expected, **EXACT)


def test_a_straight_line_has_nothing_beyond_its_increment():
    line = torch.tensor([0.0, 0.2, 0.5, 2.0], dtype=torch64)[:, None] * torch.tensor([1.0, -2.0, 3.0], dtype=torch64)
    found = log_signature(line, 3)
    torch.testing.assert_close(found[:3], line[-1], rtol=0, atol=1e-15)
    assert found[3:].abs().max() < 1e-14


def test_windows_by_count_and_by_times():
    """Each window is its own piece of the path, cut inside intervals where its edges say so."""
    values = torch.stack([walk(8, 3, seed=b) for b in range(2)])
    times = torch.tensor([[0.0, 1, 2, 3, 4, 5, 6, 7], [0.0, 0.5, 1.5, 2, 4, 4.5, 5, 9]], dtype=torch64)
    path = LinearPath(values, times)
    by_count = window_edges(times, 3)
    assert torch.equal(by_count, times[:, [0, 3, 6, 7]])
    by_time = torch.tensor([0.0, 0.75, 1.25, 3.0, 3.0, 7.0], dtype=torch64)
    for edges in (by_count, by_time):
        found = log_signatures(path, edges, 3)
        for b in range(2):
            own = edges.expand(2, -1)[b].tolist()
            for w, (start, end) in enumerate(pairwise(own)):
                inner = [t for t in times[b].tolist() if start < t < end]
                piece = path.evaluate(torch.tensor([start, *inner, end], dtype=torch64))[b]
                torch.testing.assert_close(found[b, w], log_signature(piece, 3), **EXACT)


def test_windows_of_shared_times_padded_and_rectilinear_paths():
    values, times = torch.stack([walk(7, 2, seed=b) for b in range(2)]), torch.arange(7.0, dtype=torch64)
    edges = window_edges(times, 2)
    shared = log_signatures(LinearPath(values, times), edges, 3)
    assert torch.equal(shared, log_signatures(LinearPath(values, times.expand(2, -1)), edges, 3))
    padded = pad_times(times, torch.tensor([7, 5]))
    held = torch.cat([values[:, :5], torch.stack([values[0, 5:], values[1, 4:5].expand(2, 2)])], dim=1)
    found = log_signatures(LinearPath(held, padded), window_edges(padded, 2), 3)
    torch.testing.assert_close(found[1, :2], shared[1, :2], **EXACT)
    assert (found[1, 2:] == 0).all()

    corners = RectilinearPath(rectilinear_coefficients(values, times))
    found = log_signatures(corners, corners.parameter(times[[0, 6]]), 2)
    expected = log_signature(corners.coefficients, 2)
    torch.testing.assert_close(found[:, 0], expected, **EXACT)


def test_gradients_reach_the_points():
    points = torch.randn(2, 4, 3, dtype=torch64, generator=torch.Generator().manual_seed(0), requires_grad=True)
    times = torch.arange(4.0, dtype=torch64)
    edges = torch.tensor([0.0, 1.5, 3.0], dtype=torch64)
    assert torch.autograd.gradcheck(lambda x: log_signatures(LinearPath(x, times), edges, 3), points)


def matrices(channels: int, size: int, *, nilpotent: bool = False, seed: int = 0) -> Tensor:
    drawn = torch.randn(channels, size, size, dtype=torch64, generator=torch.Generator().manual_seed(seed))
    return drawn.triu(1) if nilpotent else drawn / size


class Linear(nn.Module):
    """The field with columns A_i z."""

    def __init__(self, a: Tensor) -> None:
        super().__init__()
        self.a = nn.Parameter(a)

    def forward(self, t: Tensor, z: Tensor) -> Tensor:
        return torch.einsum("chk,bk->bhc", self.a, z)


def exact(a: Tensor, points: Tensor, z0: Tensor) -> Tensor:
    """Solve dz = sum_i A_i z dX^i along straight lines, by an exponential each."""
    z = z0
    for step in points.diff(dim=1).unbind(1):
        z = (torch.linalg.matrix_exp(torch.einsum("chk,bc->bhk", a, step)) @ z.unsqueeze(-1)).squeeze(-1)
    return z


def bracket_matrix(bracket, a: Tensor) -> Tensor:
    """Return the matrix of a bracket of linear fields: [A z, B z] = (B A - A B) z."""
    if isinstance(bracket, int):
        return a[bracket]
    left, right = (bracket_matrix(each, a) for each in bracket)
    return right @ left - left @ right


@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("channels", [1, 2, 4])
def test_brackets_of_linear_fields_are_commutators(channels: int, depth: int):
    a = matrices(channels, 3)
    z = torch.randn(5, 3, dtype=torch64, generator=torch.Generator().manual_seed(1))
    found = LieBrackets(Linear(a), channels, depth)(torch.zeros((), dtype=torch64), z)
    expected = [z @ bracket_matrix(bracket, a).T for bracket in lyndon_brackets(channels, depth)]
    torch.testing.assert_close(found, torch.stack(expected, dim=-1), rtol=0, atol=1e-13)


def test_brackets_of_nonlinear_fields():
    """Against Jacobians by reverse mode, a sample at a time, with times and arguments of its own."""

    def field(t: Tensor, z: Tensor, args: Tensor) -> Tensor:
        u, v = z.unbind(-1)
        first = torch.stack([torch.sin(u * v) + t, args[:, 0] * v**2], dim=-1)
        return torch.stack([first, torch.stack([u**3, torch.cos(u) * args[:, 0]], dim=-1)], dim=-1)

    generator = torch.Generator().manual_seed(0)
    z, args = (torch.randn(3, n, dtype=torch64, generator=generator) for n in (2, 1))
    t = torch.tensor([0.1, 0.5, 2.0], dtype=torch64)
    found = LieBrackets(field, 2, 3)(t, z, args)
    for b in range(3):

        def column(bracket, b: int = b):
            if isinstance(bracket, int):
                return lambda y: field(t[b], y[None], args[b : b + 1])[0, :, bracket]
            left, right = (column(each) for each in bracket)
            return lambda y: torch.func.jacrev(right)(y) @ left(y) - torch.func.jacrev(left)(y) @ right(y)

        expected = torch.stack([column(bracket)(z[b]) for bracket in lyndon_brackets(2, 3)], dim=-1)
        torch.testing.assert_close(found[b], expected, rtol=1e-12, atol=1e-12)


def test_the_log_ode_method_is_exact_where_deeper_brackets_vanish():
    """With strictly triangular matrices of size n, brackets of n and rk4's terms beyond the fourth vanish.

    So a single step over the whole path is exact at depth 3 for size 4, at depth 2 for size 3, and no less will do.
    """
    points = torch.stack([walk(6, 3, seed=b) for b in range(2)]) / 3
    times = torch.arange(6.0, dtype=torch64)
    whole = times[[0, -1]]
    for size in (2, 3, 4):
        a = matrices(3, size, nilpotent=True)
        z0 = torch.ones(2, size, dtype=torch64)
        expected = exact(a, points, z0)
        for depth in (1, 2, 3):
            path = LogSignaturePath(log_signatures(LinearPath(points, times), whole, depth), whole)
            found = solve_log_ode(Linear(a), path, z0, whole, depth=depth).states[:, -1]
            error = (found - expected).abs().max()
            # Exact but for some hundred roundings; otherwise a bracket of size one is missing.
            assert (error < 1e-12) if depth >= size - 1 else (error > 1e-2)


def test_learned_brackets_are_a_controlled_equation():
    """The rough form: a field (B, H, K) of the brackets' matrices, given to ``solve_cde``, is the same equation."""
    points, times = torch.stack([walk(9, 2, seed=b) for b in range(2)]) / 4, torch.arange(9.0, dtype=torch64)
    edges, a = window_edges(times, 3), matrices(2, 3)
    path = LogSignaturePath(log_signatures(LinearPath(points, times), edges, 3), edges)
    rough = Linear(torch.stack([bracket_matrix(bracket, a) for bracket in lyndon_brackets(2, 3)]))
    z0 = torch.ones(2, 3, dtype=torch64)
    ours = solve_log_ode(Linear(a), path, z0, edges, depth=3).states
    torch.testing.assert_close(ours, solve_cde(rough, path, z0, edges).states, rtol=1e-12, atol=1e-12)
    assert ours.shape == (2, 4, 3)


def test_mistakes_are_named():
    path = LinearPath(torch.zeros(1, 3, 2), torch.arange(3.0))
    for depth in (0, 4):
        with pytest.raises(InputError, match=f"depth={depth} is not available: take 1, 2, 3"):
            log_signature(torch.zeros(3, 2), depth)
    with pytest.raises(InputError, match="give a LinearPath"):
        log_signatures(HermitePath(torch.zeros(1, 3, 4), torch.arange(3.0)), torch.arange(3.0), 2)  # pyright: ignore[reportArgumentType]
    with pytest.raises(InputError, match="at least 1 interval"):
        window_edges(torch.arange(3.0), 0)
    with pytest.raises(InputError, match="do not belong together"):
        LogSignaturePath(torch.zeros(1, 3, 3), torch.arange(3.0))
    edges = torch.arange(3.0)
    found = LogSignaturePath(log_signatures(path, edges, 2), edges)
    with pytest.raises(InputError, match="of no depth 3"):
        solve_log_ode(Linear(torch.zeros(2, 2, 2)), found, torch.zeros(1, 2), edges, depth=3)
