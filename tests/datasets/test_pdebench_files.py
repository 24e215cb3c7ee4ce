"""Readers of PDEBench's layouts, on small files written as it publishes them, right and wrong."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from integrand.core.errors import InputError
from integrand.datasets.simulation_files import read_simulations

h5py = pytest.importorskip("h5py")

N, T, X, Y = 5, 7, 16, 12


def centres(n: int, low: float = 0.0, high: float = 1.0) -> np.ndarray:
    """Return the centres of n cells, in single precision as PDEBench has them."""
    edges = np.linspace(low, high, n + 1, dtype=np.float32)
    return edges[:-1] + np.float32(0.5 * (high - low) / n)


def numbers(*shape: int) -> np.ndarray:
    """Return random numbers in single precision."""
    return np.random.default_rng(len(shape)).standard_normal(shape).astype(np.float32)


def written(path: Path, arrays: dict[str, np.ndarray], **attributes: float) -> Path:
    """Write arrays, by the name of each, and attributes of the root."""
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file[name] = array
        file.attrs.update(attributes)
    return path


def burgers() -> dict[str, np.ndarray]:
    """A one-dimensional file, whose times have one entry more than there are states, as in those published."""
    return {
        "tensor": numbers(N, T, X),
        "x-coordinate": centres(X),
        "t-coordinate": np.linspace(0, 2, T + 1, dtype=np.float32),
    }


def darcy() -> dict[str, np.ndarray]:
    """Darcy's flow: steady."""
    axes = {"x-coordinate": centres(X), "y-coordinate": centres(Y)}
    return {"tensor": numbers(N, 1, X, Y), "nu": np.abs(numbers(N, X, Y)), **axes}


def flow() -> dict[str, np.ndarray]:
    """Compressible flow in two dimensions."""
    axes = {"x-coordinate": centres(X), "y-coordinate": centres(Y)}
    times = {"t-coordinate": np.linspace(0, 1, T + 1, dtype=np.float32)}
    return {name: numbers(N, T, X, Y) + i for i, name in enumerate(("density", "pressure", "Vx", "Vy"))} | axes | times


def groups(channels: int = 2) -> dict[str, np.ndarray]:
    """Diffusion and reaction: a group a sample."""
    found: dict[str, np.ndarray] = {}
    for i in range(N):
        found[f"{i:04d}/data"] = numbers(T, X, Y, channels) + i
        found[f"{i:04d}/grid/x"], found[f"{i:04d}/grid/y"] = centres(X, -1), centres(Y, -1)
        found[f"{i:04d}/grid/t"] = np.linspace(0, 5, T, dtype=np.float32)
    return found


@pytest.mark.parametrize("attributes", [{"Nu": 0.01}, {}])
def test_one_dimension(attributes: dict[str, float], tmp_path: Path):
    arrays = burgers()
    data = read_simulations(written(tmp_path / "1D_Burgers_Sols_Nu0.01.hdf5", arrays, **attributes))
    assert (data.name, data.channels, data.shape) == ("1D_Burgers_Sols_Nu0.01", ("u",), (X,))
    assert np.array_equal(data.values[:, :, 0], arrays["tensor"])
    assert np.array_equal(data.times, arrays["t-coordinate"][:T].astype(np.float64))
    assert data.parameters["nu"].tolist() == [0.01] * N  # from the attribute, or from the name
    assert data.periodic == (True,)
    assert data.lengths == pytest.approx((1.0,), abs=1e-6)
    assert torch.allclose(data.coordinates[0], (torch.arange(X, dtype=torch.float64) + 0.5) / X, atol=1e-6, rtol=0)


def test_parameters_in_names(tmp_path: Path):
    arrays = {"density": numbers(N, T, X), **burgers()}
    del arrays["tensor"]
    data = read_simulations(written(tmp_path / "1D_CFD_Rand_Eta1.e-8_Zeta0.1_periodic_Train.hdf5", arrays))
    assert {name: each[0].item() for name, each in data.parameters.items()} == {"eta": 1e-8, "zeta": 0.1}


def test_darcy(tmp_path: Path):
    arrays = darcy()
    data = read_simulations(written(tmp_path / "2D_DarcyFlow_beta1.0_Train.hdf5", arrays, beta=1.0))
    assert (data.times.tolist(), data.channels, data.constant_names) == ([0.0], ("u",), ("nu",))
    assert data.constants is not None
    assert np.array_equal(data.values[:, :, 0], arrays["tensor"])
    assert np.array_equal(data.constants[:, 0], arrays["nu"])
    assert data.periodic == (False, False)
    assert data.parameters["beta"].tolist() == [1.0] * N


@pytest.mark.parametrize(("word", "periodic"), [("periodic", True), ("trans", False)])
def test_compressible_flow(word: str, periodic: bool, tmp_path: Path):
    arrays = flow()
    name = f"2D_CFD_Rand_M0.1_Eta0.01_Zeta0.01_{word}_128_Train.hdf5"
    data = read_simulations(written(tmp_path / name, arrays, M=0.1, eta=0.01, zeta=0.01))
    assert data.channels == ("density", "pressure", "Vx", "Vy")
    assert np.array_equal(data.values[:, :, 3], arrays["Vy"])
    assert data.periodic == (periodic,) * 2
    assert set(data.parameters) == {"m", "eta", "zeta"}


def test_a_boundary_that_is_not_known(tmp_path: Path):
    path = written(tmp_path / "2D_shock.hdf5", flow())
    with pytest.raises(InputError, match="neither the file nor its name says whether its box is periodic"):
        read_simulations(path)
    assert read_simulations(path, periodic=False).periodic == (False, False)


def test_a_group_a_sample(tmp_path: Path):
    arrays = groups()
    data = read_simulations(written(tmp_path / "2D_diff-react_NA_NA.h5", arrays), samples=slice(1, 4, 2))
    assert (len(data), data.channels, data.shape) == (2, ("u", "v"), (X, Y))
    assert np.array_equal(data.values[1, :, 1], arrays["0003/data"][..., 1])
    assert data.periodic == (False, False)
    assert data.lengths == pytest.approx((2.0, 2.0), abs=1e-6)


def test_a_part_of_a_file(tmp_path: Path):
    arrays = flow()
    arrays["density"][4, 3, 2, 1] = np.nan
    path = written(tmp_path / "2D_CFD_periodic.hdf5", arrays)
    data = read_simulations(path, samples=slice(3), every_time=3, every_point=4)
    assert np.array_equal(data.values[:, :, 2], arrays["Vx"][:3, ::3, ::4, ::4])
    assert data.lengths == pytest.approx((1.0, 1.0), abs=1e-6)  # the period stays
    with pytest.raises(InputError, match=r"sample 4 is not finite at time 0\.428571: leave it out"):
        read_simulations(path)


@pytest.mark.parametrize(
    ("make", "name", "change", "message"),
    [
        (burgers, "x-coordinate", None, "has no 'x-coordinate', without which its fields have no place"),
        (burgers, "t-coordinate", None, "has no 't-coordinate', without which its fields have no place"),
        (
            burgers,
            "tensor",
            (2, 1, 0),
            r"tensor has shape \(16, 7, 5\) where its coordinates ask for \(samples any, times 7, x 16\): its "
            r"dimensions lie in the order \(x, times, samples\); transpose them",
        ),
        (burgers, "tensor", (1, 0, 2), r"\(7, 5, 16\) .* lie in the order \(times, samples, x\)"),
        (darcy, "y-coordinate", None, "has no 'y-coordinate'"),
        (darcy, "tensor", (0, 1, 3, 2), r"\(5, 1, 12, 16\) .* lie in the order \(samples, times, y, x\)"),
        (darcy, "nu", (0, 2, 1), r"nu has shape \(5, 12, 16\) .* lie in the order \(samples, y, x\)"),
        (flow, "Vx", (1, 0, 2, 3), r"Vx has shape \(7, 5, 16, 12\) .* lie in the order \(times, samples, x, y\)"),
        (groups, "0000/grid/t", None, "has no 'grid/t', the coordinates of group 0000"),
        (groups, "0002/data", (3, 0, 1, 2), r"0002/data .* lie in the order \(channels, times, x, y\)"),
    ],
)
def test_wrong_files_are_refused(make: Any, name: str, change: tuple[int, ...] | None, message: str, tmp_path: Path):
    arrays = make()
    array = arrays.pop(name)
    if change is not None:
        arrays[name] = np.transpose(array, change)
    with pytest.raises(InputError, match=message):
        read_simulations(written(tmp_path / "periodic.hdf5", arrays))


def test_no_order_fits(tmp_path: Path):
    arrays = burgers() | {"x-coordinate": centres(11)}
    with pytest.raises(InputError, match=r"\(5, 7, 16\) .* x 11\): put its dimensions in that order, or give it"):
        read_simulations(written(tmp_path / "a.hdf5", arrays))


def test_grids_that_differ_between_samples(tmp_path: Path):
    arrays = groups()
    arrays["0002/data"] = arrays["0002/data"][:, ::2]
    with pytest.raises(InputError, match=r"0002/data has shape \(7, 8, 12, 2\) where its coordinates ask for"):
        read_simulations(written(tmp_path / "a.h5", arrays))


def test_incompressible_flow_has_no_coordinates(tmp_path: Path):
    arrays = {"velocity": numbers(2, T, X, Y, 2), "force": numbers(2, X, Y, 2), "t": numbers(2, T)}
    with pytest.raises(
        InputError, match="neither the layout of The Well nor one of PDEBench: it holds force, t, velocity"
    ):
        read_simulations(written(tmp_path / "ns_incom_inhom_2d_512-0.h5", arrays))


def test_a_folder_of_viscosities(tmp_path: Path):
    for nu in (0.01, 0.1):
        written(tmp_path / f"1D_Burgers_Sols_Nu{nu}.hdf5", burgers(), Nu=nu)
    data = read_simulations(tmp_path)
    assert data.parameters["nu"].tolist() == [0.01] * N + [0.1] * N
