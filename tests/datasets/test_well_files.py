"""Files in the layout of The Well: round trips, files made by others, parts of files, and files that are wrong."""

import dataclasses
import math
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from integrand.core.errors import InputError
from integrand.datasets.simulation_files import read_simulations
from integrand.datasets.simulations import Simulations
from integrand.datasets.synthetic.simulators import simulator
from integrand.datasets.well_files import write_simulations

h5py = pytest.importorskip("h5py")


def fields(n: int = 6, points: tuple[int, ...] = (8, 5), dtype: torch.dtype = torch.float64) -> Simulations:
    """Fields on a box that is periodic along the first axis and walled along the others, with two constants."""
    torch.manual_seed(n)
    lengths = (2 * math.pi, 1.5, 3.0)[: len(points)]
    return Simulations(
        name="flow",
        values=torch.randn(n, 4, 3, *points, dtype=dtype),
        times=torch.tensor([0.0, 0.1, 0.3, 1 / 3 + 0.5], dtype=torch.float64),
        channels=("pressure", "velocity_x", "velocity_y"),
        coordinates=tuple(
            torch.arange(x, dtype=torch.float64) * (length / x) for x, length in zip(points, lengths, strict=True)
        ),
        lengths=lengths,
        periodic=(True, False, False)[: len(points)],
        parameters={"viscosity": torch.rand(n, dtype=torch.float64), "length": torch.full((n,), 0.1)},
        constants=torch.randn(n, 2, *points, dtype=dtype),
        constant_names=("force", "mask"),
        units={"time": "s", "pressure": "Pa"},
        provenance={"solver": "none", "time_step_error": 1 / 3, "seed": 7},
    )


def same(one: Simulations, two: Simulations) -> None:
    """Demand that two are equal bit by bit, in every attribute."""
    for field in dataclasses.fields(Simulations):
        left, right = getattr(one, field.name), getattr(two, field.name)
        if field.name in ("values", "times", "constants"):
            assert (left is None) == (right is None)
            assert left is None or (left.dtype == right.dtype and torch.equal(left, right)), field.name
        elif field.name == "coordinates":
            assert len(left) == len(right)
            assert all(torch.equal(a, b) and a.dtype == b.dtype for a, b in zip(left, right, strict=True))
        elif field.name == "parameters":
            assert list(left) == list(right)
            assert all(torch.equal(left[name], right[name]) and left[name].dtype == right[name].dtype for name in left)
        else:
            assert left == right, field.name
    assert one.checksum == two.checksum


# Round trips


@pytest.mark.parametrize(
    "data",
    [
        simulator("pendulum").simulate(5, parameters={"length": (0.5, 2.0)}),
        simulator("burgers").simulate(3, points=(65,), parameters={"viscosity": (0.1, 0.2)}),
        fields(),
        fields(dtype=torch.float32),
        fields(points=(4, 5, 6)),
        dataclasses.replace(fields(), constants=None, constant_names=(), parameters={}),
    ],
    ids=["system", "equation", "constants", "single precision", "three axes", "bare"],
)
def test_round_trip_is_exact(data: Simulations, tmp_path: Path):
    path = write_simulations(tmp_path / "new folder" / "data.h5", data)
    same(read_simulations(path), data)
    assert [each.name for each in path.parent.iterdir()] == ["data.h5"]


def test_layout_is_that_of_the_well(tmp_path: Path):
    data = fields()
    with h5py.File(write_simulations(tmp_path / "a.hdf5", data), "r") as file:
        assert {"dimensions", "boundary_conditions", "scalars", "t0_fields", "t1_fields", "t2_fields"} == set(file)
        assert (file.attrs["dataset_name"], file.attrs["grid_type"]) == ("flow", "cartesian")
        assert (file.attrs["n_spatial_dims"], file.attrs["n_trajectories"]) == (2, 6)
        assert list(file.attrs["simulation_parameters"]) == ["length"]  # the same in all samples
        assert file.attrs["length"] == data.parameters["length"][0]
        assert list(file["dimensions"].attrs["spatial_dims"]) == ["x", "y"]
        pressure, force = file["t0_fields/pressure"], file["t0_fields/force"]
        assert pressure.shape == (6, 4, 8, 5)  # trajectory, time, x, y
        assert np.array_equal(pressure[2, 1], data.values[2, 1, 0].numpy())
        assert (pressure.attrs["time_varying"], force.attrs["time_varying"]) == (True, False)
        assert force.shape == (6, 8, 5)
        x, y = file["boundary_conditions/x_periodic"], file["boundary_conditions/y_wall"]
        assert (x.attrs["bc_type"], y.attrs["bc_type"]) == ("PERIODIC", "WALL")
        assert x["mask"][()].tolist() == [True] + [False] * 6 + [True]
        assert file["scalars/viscosity"].attrs["sample_varying"]


def test_read_by_the_well(tmp_path: Path):
    dataset = pytest.importorskip("the_well.data", reason="the_well is not installed").WellDataset
    data = fields(dtype=torch.float32)
    write_simulations(tmp_path / "a.hdf5", data)
    theirs = dataset(path=str(tmp_path), n_steps_input=1, n_steps_output=3)
    assert (len(theirs), theirs.n_spatial_dims) == (6, 2)
    sample = theirs[4]
    fields_ = torch.cat([sample["input_fields"], sample["output_fields"]])
    assert torch.equal(fields_, data.values[4].movedim(1, -1))
    assert data.constants is not None
    assert torch.equal(sample["constant_fields"], data.constants[4].movedim(0, -1))
    assert sample["boundary_conditions"].tolist() == [[2, 2], [0, 0]]  # periodic, wall
    assert sample["constant_scalars"].tolist() == [float(each[4]) for each in data.parameters.values()]
    x, y = torch.meshgrid(*data.coordinates, indexing="ij")
    assert torch.equal(sample["space_grid"], torch.stack([x, y], -1))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"constant_names": ("force", "pressure")}, "'pressure' cannot name a field"),
        ({"channels": ("a/b", "c", "d")}, "'a/b' cannot name a field"),
        ({"values": torch.ones(6, 4, 3, 8, 5, dtype=torch.int64)}, "values are torch.int64, which is not written"),
    ],
)
def test_what_the_layout_cannot_hold(change: dict[str, Any], message: str, tmp_path: Path):
    with pytest.raises(InputError, match=message):
        write_simulations(tmp_path / "a.h5", dataclasses.replace(fields(), **change))
    assert list(tmp_path.iterdir()) == []


# Files made by others


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    """A file as the specification of The Well has it, in single precision, with fields of all three orders."""
    rng = np.random.default_rng(3)
    path = tmp_path / "foreign.hdf5"

    def add(group: Any, name: str, shape: tuple[int, ...], sample: bool, time: bool, *dims: bool) -> None:
        group[name] = rng.standard_normal(shape).astype(np.float32)
        group[name].attrs.update(sample_varying=sample, time_varying=time)
        if dims:
            group[name].attrs["dim_varying"] = np.array(dims)

    with h5py.File(path, "w") as file:
        file.attrs.update(dataset_name="shear", grid_type="cartesian", n_spatial_dims=2, n_trajectories=3, Schmidt=0.2)
        file.attrs["simulation_parameters"] = ["Reynolds", "Schmidt"]
        dimensions = file.create_group("dimensions")
        dimensions.attrs["spatial_dims"] = ["x", "y"]
        dimensions["time"] = np.linspace(0, 1, 5, dtype=np.float32)
        dimensions["x"] = (np.arange(6) * 0.1).astype(np.float32)
        dimensions["y"] = np.linspace(-1, 1, 4, dtype=np.float32)
        for axis, kind in (("x", "PERIODIC"), ("y", "wall")):
            group = file.create_group(f"boundary_conditions/{axis}_ends")
            group.attrs.update(bc_type=kind, associated_dims=[axis])
            group["mask"] = np.ones(6 if axis == "x" else 4, dtype=bool)
        scalars = file.create_group("scalars")
        scalars.attrs["field_names"] = ["Reynolds"]
        add(scalars, "Reynolds", (1,), False, False)
        t0, t1, t2 = (file.create_group(f"t{i}_fields") for i in range(3))
        t0.attrs["field_names"] = ["tracer", "profile", "depth", "flux"]
        add(t0, "tracer", (3, 5, 6, 4), True, True, True, True)
        add(t0, "profile", (4,), False, False, False, True)
        add(t0, "depth", (3, 6, 1), True, False, True, False)
        add(t0, "flux", (5, 6, 4), False, True, True, True)
        t1.attrs["field_names"] = ["velocity"]
        add(t1, "velocity", (3, 5, 6, 4, 2), True, True, True, True)
        t2.attrs["field_names"] = ["stress"]
        add(t2, "stress", (3, 5, 6, 4, 2, 2), True, True, True, True)
    return path


def test_fields_of_all_orders_become_channels(foreign: Path):
    data = read_simulations(foreign)
    assert (data.name, len(data), data.shape) == ("shear", 3, (6, 4))
    stress = ("stress_xx", "stress_xy", "stress_yx", "stress_yy")
    assert data.channels == ("tracer", "flux", "velocity_x", "velocity_y", *stress)
    with h5py.File(foreign) as file:
        velocity, tensor, flux = (
            file[name][()] for name in ("t1_fields/velocity", "t2_fields/stress", "t0_fields/flux")
        )
        profile, depth, reynolds = (
            file[name][()] for name in ("t0_fields/profile", "t0_fields/depth", "scalars/Reynolds")
        )
    assert np.array_equal(data.values[:, :, 3], velocity[..., 1])
    assert np.array_equal(data.values[:, :, 6], tensor[..., 1, 0])
    assert all(np.array_equal(data.values[i, :, 1], flux) for i in range(3))
    assert data.constants is not None
    assert data.constant_names == ("profile", "depth")
    assert np.array_equal(data.constants[2, 0], np.broadcast_to(profile, (6, 4)))
    assert np.array_equal(data.constants[2, 1], np.broadcast_to(depth[2], (6, 4)))
    assert data.parameters["Schmidt"].tolist() == [0.2] * 3
    assert data.parameters["Reynolds"].tolist() == [float(reynolds[0])] * 3
    assert data.periodic == (True, False)
    assert data.lengths == pytest.approx((0.6, 2.0), rel=1e-7)
    # Points in single precision are put back to an even grid.
    assert torch.allclose(data.coordinates[0].diff(), torch.tensor(0.1, dtype=torch.float64), rtol=1e-7, atol=0)
    assert float(data.coordinates[0].diff().std()) < 1e-16


@pytest.mark.parametrize("samples", [slice(2), slice(1, 3), slice(0, 3, 2)])
def test_a_part_of_a_file(foreign: Path, samples: slice):
    whole, part = read_simulations(foreign), read_simulations(foreign, samples=samples, every_time=2, every_point=2)
    chosen = whole.select(list(range(3))[samples]).every(2)
    expected = dataclasses.replace(chosen, values=chosen.values[:, ::2], times=chosen.times[::2])
    same(part, expected)


def test_no_more_is_read_than_asked_for(tmp_path: Path):
    path = write_simulations(tmp_path / "a.h5", fields())
    with h5py.File(path, "r+") as file:
        file["t0_fields/pressure"][5] = np.nan
        file["t0_fields/force"][4] = np.nan
    assert len(read_simulations(path, samples=slice(4))) == 4
    with pytest.raises(InputError, match=r"a constant of sample 4 is not finite: leave it out"):
        read_simulations(path, samples=slice(2, 5))
    with pytest.raises(InputError, match=r"sample 5 is not finite at time 0: leave it out"):
        read_simulations(path, samples=slice(1, None, 4))
    with pytest.raises(InputError, match=r"has 6 samples: none of them is in samples=slice\(6, 9, None\)"):
        read_simulations(path, samples=slice(6, 9))
    with pytest.raises(InputError, match=r"8 periodic points cannot be thinned by 3"):
        read_simulations(path, samples=slice(1), every_point=3)


def test_whether_ends_are_joined_can_be_said(foreign: Path):
    data = read_simulations(foreign, periodic=True)
    assert data.periodic == (True, True)
    assert data.lengths == pytest.approx((0.6, 2 * 4 / 3), rel=1e-7)


# Folders


def test_a_folder_is_read_as_one(tmp_path: Path):
    data = fields(9)
    for i, cut in enumerate((range(4), range(4, 6), range(6, 9))):
        write_simulations(tmp_path / f"part_{i}.h5", data.select(list(cut)))
    same(read_simulations(tmp_path), data)
    same(read_simulations(tmp_path, samples=slice(1, 9, 3)), data.select([1, 4, 7]))


def test_files_that_do_not_fit_together(tmp_path: Path):
    with pytest.raises(InputError, match=r"holds no file that ends in \.h5 or \.hdf5"):
        read_simulations(tmp_path)
    write_simulations(tmp_path / "a.h5", fields())
    write_simulations(tmp_path / "b.h5", fields(points=(16, 5)))
    with pytest.raises(InputError, match=r"a\.h5 has 8x5 points and b\.h5 16x5: files of mixed resolution"):
        read_simulations(tmp_path)
    write_simulations(tmp_path / "b.h5", dataclasses.replace(fields(), times=fields().times * 2))
    with pytest.raises(InputError, match=r"a\.h5 and b\.h5 have not the same times: read them one by one"):
        read_simulations(tmp_path)


# Files that are wrong


def spoil(path: Path, name: str, order: tuple[int, ...] | None = None, **attributes: Any) -> None:
    """Delete what lies under ``name``, or change the order of its dimensions, or its attributes."""
    with h5py.File(path, "r+") as file:
        if order is not None:
            array, kept = file[name][()], dict(file[name].attrs)
            del file[name]
            file[name] = np.transpose(array, order)
            file[name].attrs.update(kept)
        elif attributes:
            file[name].attrs.update(attributes)
        else:
            del file[name]


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("dimensions/x", {}, r"has no 'x', the coordinates of a dimension: it holds time, y; write it"),
        ("dimensions/time", {}, r"has no 'time', the coordinates of a dimension"),
        ("dimensions", {}, r"has no 'dimensions', the times and points of the fields"),
        (
            "boundary_conditions",
            {},
            r"has no 'boundary_conditions', which axes are periodic \(or say it with periodic=",
        ),
        (
            "t0_fields/pressure",
            {"order": (3, 2, 1, 0)},
            r"pressure has shape \(5, 8, 4, 6\) where its coordinates ask for \(samples 6, times 4, x 8, y 5\): its "
            r"dimensions lie in the order \(y, x, times, samples\); transpose them",
        ),
        ("t0_fields/velocity_y", {}, r"has no 'velocity_y', a field that t0_fields names"),
        ("/", {"grid_type": "spherical"}, r"the grid is spherical: only cartesian ones are held here"),
        ("/", {"complete": False}, r"was not written to its end: delete it and make it again"),
        ("scalars/viscosity", {"time_varying": True}, r"the scalar 'viscosity' varies in time: parameters here do not"),
    ],
)
def test_wrong_files_are_refused(name: str, change: dict[str, Any], message: str, tmp_path: Path):
    path = write_simulations(tmp_path / "a.h5", fields())
    spoil(path, name, **change)
    with pytest.raises(InputError, match=message) as caught:
        read_simulations(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_uneven_points_are_refused(tmp_path: Path):
    path = write_simulations(tmp_path / "a.h5", fields())
    with h5py.File(path, "r+") as file:
        file["dimensions/y"][:] = [0, 1, 2, 3, 4.1]
    with pytest.raises(InputError, match="the points of y are not evenly spaced and increasing"):
        read_simulations(path)


def test_a_mark_that_is_missing(tmp_path: Path):
    path = write_simulations(tmp_path / "a.h5", fields())
    with h5py.File(path, "r+") as file:
        del file.attrs["complete"]
    with pytest.raises(InputError, match="was not written to its end"):
        read_simulations(path)


def test_files_that_are_none(tmp_path: Path):
    path = write_simulations(tmp_path / "a.h5", fields())
    content = path.read_bytes()
    for share in (0.3, 0.6, 0.999):
        (tmp_path / "short.h5").write_bytes(content[: int(share * len(content))])
        with pytest.raises(
            InputError, match=r"short\.h5 is damaged, as after a write or a download that was interrupted"
        ):
            read_simulations(tmp_path / "short.h5")
    (tmp_path / "text.h5").write_text("time,x\n0,1\n")
    with pytest.raises(InputError, match=r"text\.h5 is not an HDF5 file"):
        read_simulations(tmp_path / "text.h5")
    (tmp_path / "none.h5").touch()
    with pytest.raises(InputError, match=r"none\.h5 is empty: make or download it again"):
        read_simulations(tmp_path / "none.h5")
    with pytest.raises(InputError, match=r"gone\.h5 is not there: check the path"):
        read_simulations(tmp_path / "gone.h5")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["weights"], file["bias"] = 1.0, 2.0
    with pytest.raises(
        InputError, match=r"neither the layout of The Well nor one of PDEBench: it holds bias, weights at"
    ):
        read_simulations(tmp_path / "other.h5")


def test_without_h5py(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = write_simulations(tmp_path / "a.h5", fields())
    shutil.copy(path, tmp_path / "b.h5")
    monkeypatch.setitem(sys.modules, "h5py", None)
    for call in (lambda: read_simulations(path), lambda: write_simulations(tmp_path / "c.h5", fields())):
        with pytest.raises(
            InputError, match=r"need h5py, which is not installed: pip install 'integrand\[physics\]'\.$"
        ):
            call()
