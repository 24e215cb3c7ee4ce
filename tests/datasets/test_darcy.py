"""Darcy's flow: order of convergence, layers, Poisson's equation, scipy's direct solver, and the published data."""

import hashlib
import math
import os
import zipfile
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse
import torch
from scipy.sparse.linalg import spsolve
from torch import Tensor

from integrand.core.errors import InputError
from integrand.datasets.catalogue import CATALOGUE, find
from integrand.datasets.real import darcy_neuralop
from integrand.datasets.synthetic.equations.darcy import HIGHEST_WAVE, Darcy, neumann_field
from integrand.datasets.synthetic.equations.diffusion_operator import DiffusionOperator

WHEEL = "darcy_neuralop/neuraloperator-0.3.0-py3-none-any.whl"


def square(n: int, m: int) -> tuple[Tensor, Tensor]:
    """Return the points of the unit square with its walls, n + 1 by m + 1."""
    return torch.linspace(0, 1, n + 1, dtype=torch.float64)[:, None], torch.linspace(0, 1, m + 1, dtype=torch.float64)


def test_order_two_for_a_smooth_permeability():
    """u = sin(pi x) sin(2 pi y), a = 1 + sin(2 x) cos(3 y) / 2, f = -grad a . grad u + 5 pi^2 a u."""
    errors = []
    for n in (16, 32, 64):
        x, y = square(n, 2 * n)
        a = 1 + (2 * x).sin() * (3 * y).cos() / 2
        u = (math.pi * x).sin() * (2 * math.pi * y).sin()
        u_x = math.pi * (math.pi * x).cos() * (2 * math.pi * y).sin()
        u_y = 2 * math.pi * (math.pi * x).sin() * (2 * math.pi * y).cos()
        a_x, a_y = (2 * x).cos() * (3 * y).cos(), -3 / 2 * (2 * x).sin() * (3 * y).sin()
        f = -(a_x * u_x + a_y * u_y) + 5 * math.pi**2 * a * u
        found = DiffusionOperator(a[None], (1 / n, 0.5 / n)).solve(f[None])[0]
        errors.append(float((found - u).abs().max()))
    assert [math.log2(a / b) for a, b in pairwise(errors)] == pytest.approx([2, 2], abs=0.1)


def test_poissons_equation_has_its_series():
    """a = 3, f = 1: the middle's value by the double sine series of the membrane, 0.0736713532 / 3."""
    odd = np.arange(1, 400, 2)
    i, j = odd[:, None], odd
    middle = (16 / np.pi**4 * np.sin(i * np.pi / 2) * np.sin(j * np.pi / 2) / (i * j * (i**2 + j**2))).sum()
    errors = []
    for n in (32, 64):
        u = DiffusionOperator(torch.full((1, n + 1, n + 1), 3.0, dtype=torch.float64), (1 / n, 1 / n)).solve(
            torch.ones(1, n + 1, n + 1, dtype=torch.float64)
        )
        errors.append(abs(float(u[0, n // 2, n // 2]) - middle / 3))
    assert math.log2(errors[0] / errors[1]) == pytest.approx(2, abs=0.1)


def test_a_wave_of_constant_coefficient_is_an_eigenvector():
    """The five-point form multiplies sin(pi i x) sin(pi j y) by its own eigenvalue, solved to rounding."""
    x, y = square(12, 20)
    u = (2 * math.pi * x).sin() * (3 * math.pi * y).sin()
    value = (2 * 12 * math.sin(2 * math.pi / 24)) ** 2 + (2 * 20 * math.sin(3 * math.pi / 40)) ** 2
    operator = DiffusionOperator(torch.ones(1, 13, 21, dtype=torch.float64), (1 / 12, 1 / 20))
    torch.testing.assert_close(operator(u[None])[0, 1:-1, 1:-1], value * u[1:-1, 1:-1], rtol=0, atol=1e-10)
    torch.testing.assert_close(operator.solve(value * u[None])[0], u, rtol=0, atol=1e-12)


def sparse(a: np.ndarray, f: np.ndarray, h: float) -> np.ndarray:
    """Solve by scipy's direct solver, the matrix set up point by point."""
    n = len(a)
    matrix = scipy.sparse.lil_matrix((n * n, n * n))
    right = np.zeros(n * n)
    for i in range(n):
        for j in range(n):
            row = i * n + j
            if i in (0, n - 1) or j in (0, n - 1):
                matrix[row, row] = 1
                continue
            right[row] = f[i, j]
            for k, m in ((i - 1, j), (i + 1, j), (i, j - 1), (i, j + 1)):
                face = 2 * a[i, j] * a[k, m] / (a[i, j] + a[k, m]) / h**2
                matrix[row, row] += face
                matrix[row, k * n + m] -= face
    return np.asarray(spsolve(matrix.tocsr(), right)).reshape(n, n)


def test_jumps_are_solved_as_by_a_direct_solver():
    data = Darcy().simulate(2, points=(17, 17), parameters={"source": (0.5, 2.0)})
    assert data.constants is not None
    for i in range(2):
        source = np.full((17, 17), float(data.parameters["source"][i]))
        exact = sparse(data.constants[i, 0].numpy(), source, 1 / 16)
        np.testing.assert_allclose(data.values[i, 0, 0].numpy(), exact, rtol=0, atol=1e-14)


def test_a_great_contrast_is_solved_too():
    a = torch.where(torch.rand(1, 33, 33, generator=torch.Generator().manual_seed(0)) > 0.5, 1e3, 1.0).double()
    operator, source = DiffusionOperator(a, (1 / 32, 1 / 32)), torch.ones_like(a)
    u = operator.solve(source)
    assert (operator(u) - source)[..., 1:-1, 1:-1].abs().max() < 1e-9
    exact = sparse(a[0].numpy(), source[0].numpy(), 1 / 32)
    np.testing.assert_allclose(u[0].numpy(), exact, rtol=1e-9, atol=1e-12)


def test_samples_are_solved_as_if_alone():
    data = Darcy().simulate(3, points=(33, 33))
    alone = Darcy().simulate(1, first=2, points=(33, 33))
    torch.testing.assert_close(data.values[2:], alone.values, rtol=0, atol=1e-15)
    torch.testing.assert_close(data.select([2]).constants, alone.constants, rtol=0, atol=0)


def test_the_contract():
    data = Darcy().simulate(2, points=(21, 33), lengths=(1.0, 2.0))
    assert data.values.shape == (2, 1, 1, 21, 33)
    assert data.times.tolist() == [0.0]
    assert (data.periodic, data.constant_names) == ((False, False), ("permeability",))
    assert [float(x[-1]) for x in data.coordinates] == [1.0, 2.0]
    assert data.spacing == pytest.approx((0.05, 2 / 32))
    assert data.constants is not None
    assert set(data.constants.unique().tolist()) == {3.0, 12.0}
    assert (data.values[..., 1:-1, 1:-1] > 0).all()  # the maximum principle
    for wall in (data.values[..., 0, :], data.values[..., -1, :], data.values[..., 0], data.values[..., -1]):
        assert not wall.any()
    assert data.provenance["time_step_error"] == 0
    residual = Darcy().residual(
        data.values, data.times, data.parameters, lengths=data.lengths, constants=data.constants
    )
    assert residual.shape == data.values.shape
    assert residual.abs().max() < 1e-11


def test_the_whole_source_leaves_through_the_walls():
    """Gauss: the sum of fluxes to the walls is f times the area that the inner points stand for."""
    data = Darcy().simulate(1, points=(41, 41))
    assert data.constants is not None
    (x, y), u = DiffusionOperator(data.constants[:, 0], (1 / 40, 1 / 40)).faces, data.values[0, 0, 0]
    out = sum((face * beside).sum() for face, beside in ((x[0, 0], u[1]), (x[0, -1], u[-2])))
    out += sum((face * beside).sum() for face, beside in ((y[0, :, 0], u[:, 1]), (y[0, :, -1], u[:, -2])))
    assert float(out) == pytest.approx(39**2, rel=1e-12)


def test_permeabilities_are_one_function_on_all_grids():
    coarse, fine = Darcy().simulate(3, points=(29, 29)), Darcy().simulate(3, points=(85, 85))
    torch.testing.assert_close(coarse.constants, fine.every(3).constants, rtol=0, atol=0)
    gaps = (coarse.values - fine.every(3).values).flatten(1).norm(dim=1) / fine.every(3).values.flatten(1).norm(dim=1)
    assert gaps.max() < 0.05  # first order where the permeability jumps


def test_the_random_field_has_its_covariance():
    """At two points, by the series of eigenfunctions, within three standard errors; its mean over the square is 0."""
    draws = torch.stack(
        [neumann_field(np.random.default_rng(i), (9, 5), (1.0, 2.0), shift=3.0, decay=2.0) for i in range(100)]
    )
    k = torch.arange(HIGHEST_WAVE + 1, dtype=torch.float64)
    spread = ((math.pi * k[:, None]) ** 2 + (math.pi * k / 2) ** 2 + 9) ** -2
    spread[0, 0] = 0
    size = torch.full_like(spread, 4 / 2)  # of cos cos, squared and over the area: 1 / its mean square
    size[0] /= 2
    size[:, 0] /= 2

    def basis(i: int, j: int) -> Tensor:
        return (math.pi * k[:, None] * i / 8).cos() * (math.pi * k * j / 4).cos()

    for (i, j), (m, n) in (((0, 0), (0, 0)), ((3, 2), (3, 2)), ((3, 2), (5, 1)), ((0, 4), (2, 3))):
        products = draws[:, i, j] * draws[:, m, n]
        exact = (spread * size * basis(i, j) * basis(m, n)).sum()
        assert float(products.mean()) == pytest.approx(float(exact), abs=3 * float(products.std()) / 10)


def test_bad_input():
    darcy = Darcy()
    with pytest.raises(InputError, match="steady, leave times out"):
        darcy.simulate(1, times=[0.0, 1.0])
    with pytest.raises(InputError, match="unknown parameter of darcy 'sorce': did you mean 'source'"):
        darcy.simulate(1, parameters={"sorce": 1.0})
    with pytest.raises(InputError, match="sample 1 falls to 0: it must be positive"):
        DiffusionOperator(torch.stack([torch.ones(5, 5), torch.zeros(5, 5)]), (0.25, 0.25), label="darcy")
    data = darcy.simulate(1, points=(9, 9))
    with pytest.raises(InputError, match="needs constants"):
        darcy.residual(data.values, data.times, data.parameters, lengths=data.lengths)


@pytest.fixture
def wheel() -> Path:
    path = Path(os.environ.get("INTEGRAND_DATA", ".data")) / WHEEL
    if not path.is_file():
        pytest.skip(f"no {path}: run 'integrand data download darcy_neuralop'")
    return path


def test_the_published_files(wheel: Path):
    train, test, fine = (darcy_neuralop.load(part) for part in darcy_neuralop.PARTS)
    assert [each.values.shape for each in (train, test, fine)] == [
        (1000, 1, 1, 16, 16),
        (50, 1, 1, 16, 16),
        (50, 1, 1, 32, 32),
    ]
    assert train.constants is not None
    assert test.constants is not None
    assert fine.constants is not None
    assert train.constants.unique().tolist() == [0, 1]
    # every second point of the finer grid is one of the coarser
    assert torch.equal(fine.constants[..., ::2, ::2], test.constants)
    assert torch.equal(fine.values[..., ::2, ::2], test.values)
    assert torch.equal(fine.coordinates[0][::2], test.coordinates[0])


def test_the_published_pressures_are_darcys(wheel: Path):
    """A contrast of 20 and one factor for all explain them to 5 %, in the median over samples."""
    fine = darcy_neuralop.load("test_32")
    assert fine.constants is not None
    a = torch.nn.functional.pad(1 + 19 * fine.constants.double(), (0, 1, 0, 1), mode="replicate")[:, 0]
    u = DiffusionOperator(a, (1 / 32, 1 / 32)).solve(torch.ones_like(a))[:, :-1, :-1]
    y = fine.values[:, 0, 0].double()
    factor = ((u * y).sum((1, 2)) / u.square().sum((1, 2))).median()
    gaps = (factor * u - y).flatten(1).norm(dim=1) / y.flatten(1).norm(dim=1)
    assert gaps.median() < 0.05


def test_reader_on_files_laid_out_the_same(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    path = tmp_path / WHEEL
    path.parent.mkdir()
    with zipfile.ZipFile(path, "w") as files:
        for name, n in darcy_neuralop.PARTS.values():
            if n == 16:
                with files.open(f"neuralop/datasets/data/{name}.pt", "w") as stream:
                    torch.save({"x": torch.eye(n).bool()[None], "y": torch.ones(1, n, n)}, stream)
    content = path.read_bytes()
    entry = find("darcy_neuralop")
    file = replace(entry.files[0], sha256=hashlib.sha256(content).hexdigest(), size=len(content))
    monkeypatch.setitem(CATALOGUE, entry.name, replace(entry, files=(file,)))
    monkeypatch.setenv("INTEGRAND_DATA", str(tmp_path))
    data = darcy_neuralop.load("test")
    assert data.values.dtype == torch.float32
    assert data.constants is not None
    assert torch.equal(data.constants[0, 0], torch.eye(16))
    assert data.coordinates[0][-1] == 15 / 16
    with pytest.raises(InputError, match=r"holds no neuralop/datasets/data/darcy_test_32\.pt"):
        darcy_neuralop.load("test_32")
    with pytest.raises(InputError, match="unknown part of darcy_neuralop 'tests': did you mean 'test'"):
        darcy_neuralop.load("tests")


def test_missing_files_are_told_with_the_cure(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("INTEGRAND_DATA", str(tmp_path))
    with pytest.raises(InputError, match="integrand data download darcy_neuralop"):
        darcy_neuralop.load()
