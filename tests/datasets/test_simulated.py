"""Data made once and kept: interrupts, several at the same work, what the name of a file depends on."""

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

from integrand.core.errors import InputError
from integrand.datasets import simulated as making
from integrand.datasets.simulated import Request, generate, simulated
from integrand.datasets.simulation_files import read_simulations
from integrand.datasets.simulations import joined
from integrand.datasets.synthetic.simulator import Generator, Parameters, Start
from integrand.datasets.synthetic.simulators import simulator
from integrand.datasets.synthetic.systems.system import System, state
from integrand.datasets.well_files import write_simulations

pytest.importorskip("h5py")

OPTIONS: dict[str, Any] = {
    "samples": 11,
    "points": (64,),
    "times": (0.0, 0.5, 1.0),
    "parameters": {"viscosity": (0.2, 0.4)},
    "seed": 3,
}
REQUEST = Request(name="burgers", **OPTIONS)


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """All data are worth keeping, in pieces of 4; returns which pieces were made."""
    monkeypatch.setattr(making, "WORTH_KEEPING", 0.0)
    monkeypatch.setattr(making, "FIELDS_AT_ONCE", 4)
    made: list[tuple[int, int]] = []
    piece = Request.piece

    def counted(self: Request, first: int, count: int) -> Any:
        made.append((first, count))
        return piece(self, first, count)

    monkeypatch.setattr(Request, "piece", counted)
    return made


class Explosive(System):
    """dy/dt = y^2 from y(0) = 1: infinite at t = 1; most samples begin at 0 and stay there."""

    name = "explosive"
    summary = "blows up"
    source = "none"
    channels = ("y",)
    parameters: ClassVar = {"rate": 1.0}
    span, interval, step_size = 4.0, 0.5, 0.01
    solver = "rk4"
    method = "rk4"

    def field(self, t: Tensor, y: Tensor, parameters: Parameters) -> Tensor:
        return parameters["rate"][:, None] * y.square()

    def draw(self, generator: Generator, points: tuple[int, ...], lengths: tuple[float, ...]) -> Start:
        return state(1.0 if generator.random() > 0.9 else 0.0)


def test_pieces_are_the_samples_of_one_simulation():
    data = simulated("burgers", **OPTIONS)
    whole = simulator("burgers").simulate(**OPTIONS)
    assert data.provenance["key"] == REQUEST.key
    assert torch.allclose(data.values, whole.values, rtol=0, atol=1e-13)
    assert torch.equal(data.parameters["viscosity"], whole.parameters["viscosity"])
    assert torch.equal(data.coordinates[0], whole.coordinates[0])


def test_what_is_quick_is_not_kept(tmp_path: Path):
    for _ in range(2):
        assert len(simulated("pendulum", samples=3, times=[0, 1], folder=tmp_path)) == 3
    assert list(tmp_path.iterdir()) == []


def test_what_is_kept_is_read(kept: list[tuple[int, int]], tmp_path: Path):
    first = simulated("burgers", **OPTIONS, folder=tmp_path)
    assert kept == [(0, 4), (4, 4), (8, 3)]
    assert [each.name for each in tmp_path.iterdir()] == [f"burgers-{REQUEST.key}.h5"]
    told: list[tuple[float, str]] = []
    again = simulated("burgers", **OPTIONS, folder=tmp_path, progress=lambda *said: told.append(said))
    assert len(kept) == 3
    assert told == [(1.0, f"read from {REQUEST.file(tmp_path)}")]
    assert again.checksum == first.checksum
    assert again.provenance == first.provenance


@pytest.mark.parametrize("after", [1, 2, 3])
def test_an_interrupted_generation_goes_on(after: int, kept: list[tuple[int, int]], tmp_path: Path):
    whole = simulated("burgers", **OPTIONS, folder=tmp_path / "whole")
    kept.clear()
    calls: list[float] = []

    def interrupt(share: float, text: str) -> None:
        calls.append(share)
        if len(calls) > after:
            raise KeyboardInterrupt

    folder = tmp_path / "interrupted"
    with pytest.raises(KeyboardInterrupt):
        simulated("burgers", **OPTIONS, folder=folder, progress=interrupt)
    assert len(kept) == after
    if after < 3:
        assert not REQUEST.file(folder).is_file()
    resumed = simulated("burgers", **OPTIONS, folder=folder)
    assert kept == [(0, 4), (4, 4), (8, 3)]  # none was made twice
    assert resumed.checksum == whole.checksum  # bit by bit
    assert read_simulations(REQUEST.file(folder)).checksum == whole.checksum
    assert [each.name for each in folder.iterdir()] == [REQUEST.file(folder).name]


def test_damaged_files_are_made_again(kept: list[tuple[int, int]], tmp_path: Path):
    whole = simulated("burgers", **OPTIONS, folder=tmp_path)
    file = REQUEST.file(tmp_path)
    file.write_bytes(file.read_bytes()[:5000])
    piece = tmp_path / f"{file.name}.pieces" / f"{REQUEST.key}-00000004.h5"
    write_simulations(piece, whole.select(range(4, 8)))
    piece.write_bytes(piece.read_bytes()[:-100])
    kept.clear()
    assert simulated("burgers", **OPTIONS, folder=tmp_path).checksum == whole.checksum
    assert len(kept) == 3
    assert read_simulations(file).checksum == whole.checksum


def test_several_at_the_same_work(kept: list[tuple[int, int]], tmp_path: Path):
    with ThreadPoolExecutor(4) as pool:
        every = list(pool.map(lambda _: simulated("burgers", **OPTIONS, folder=tmp_path), range(8)))
    assert len({each.checksum for each in every}) == 1
    assert read_simulations(REQUEST.file(tmp_path)).checksum == every[0].checksum
    assert not [each for each in tmp_path.rglob("*") if each.suffix == ".part"]


def test_single_precision(kept: list[tuple[int, int]], tmp_path: Path):
    exact = simulated("burgers", **OPTIONS)
    for _ in range(2):  # made, then read
        data = simulated("burgers", **OPTIONS, dtype=torch.float32, folder=tmp_path)
        assert torch.equal(data.values, exact.values.float())
        assert data.times.dtype == torch.float64
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"samples": 12},
        {"seed": 4},
        {"times": (0.0, 0.5)},
        {"points": (65,)},
        {"lengths": (1.0,)},
        {"parameters": {"viscosity": 0.2}},
        {"step_size": 0.1},
        {"dtype": torch.float32},
        {"device": "meta"},
    ],
)
def test_every_option_counts(change: dict[str, Any]):
    assert Request(name="burgers", **(OPTIONS | change)).key != REQUEST.key


def test_the_same_said_otherwise_is_the_same():
    other = OPTIONS | {"points": [64], "times": torch.tensor([0.0, 0.5, 1.0]), "parameters": {"viscosity": [0.2, 0.4]}}
    assert Request(name="Burgers", **other, device="cpu").key == REQUEST.key


def test_sizes_count_and_a_default_that_is_said_does_not():
    def key(**sizes: int) -> str:
        return Request(name="spring_chain", samples=2, sizes=sizes).key

    assert len({key(), key(masses=4), key(masses=6)}) == 3
    assert key(masses=5) == key() == Request(name="spring_chain", samples=2).key
    made = simulated("lorenz96", samples=2, times=[0.0, 0.1], sizes={"variables": 36})
    assert made.values.shape == (2, 2, 36)
    assert made.provenance["variables"] == 36


def test_the_source_counts(monkeypatch: pytest.MonkeyPatch):
    names = {module.__name__.rpartition(".")[2] for module in making._sources(simulator("burgers"))}
    assert {"burgers", "equation", "simulator", "random_fields", "spectral"} <= names
    assert "darcy" not in names
    before, source = REQUEST.key, making.inspect.getsource
    monkeypatch.setattr(
        making.inspect, "getsource", lambda module: source(module) + "#" * module.__name__.endswith("equation")
    )
    assert REQUEST.key != before
    assert Request(name="pendulum", samples=1).key == Request(name="pendulum", samples=1).key


def test_nothing_is_left_of_data_that_cannot_be_made(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(making, "simulator", lambda name: Explosive())
    monkeypatch.setattr(making, "WORTH_KEEPING", 0.0)
    monkeypatch.setattr(making, "STATES_AT_ONCE", 1)
    pieces = []

    def look(share: float, text: str) -> None:
        pieces.append(len(list(tmp_path.rglob("*.h5"))))

    message = (
        r"explosive: the solution of sample \d+ ceased to be finite before t = 1.5, by step 150 of 0\.01: "
        "take a smaller"
    )
    with pytest.raises(InputError, match=message):
        simulated("explosive", samples=50, folder=tmp_path, progress=look)
    assert max(pieces) > 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "burger"}, "unknown simulator 'burger': did you mean 'burgers'"),
        ({"samples": 0}, "samples=0 is out of range: at least 1"),
        ({"parameters": {"viscsity": 0.1}}, "unknown parameter of burgers 'viscsity': did you mean 'viscosity'"),
        ({"sizes": {"masses": 8}}, "unknown size of burgers 'masses'. Known: none"),
        (
            {"name": "spring_chain", "sizes": {"mases": 8}},
            "unknown size of spring_chain 'mases': did you mean 'masses'",
        ),
        ({"name": "spring_chain", "sizes": {"masses": 8.0}}, "masses=8.0 is out of range: give a whole number"),
        ({"points": (64, 64)}, r"points=\(64, 64\) is out of range: 1 positive numbers"),
    ],
)
def test_mistakes(change: dict[str, Any], message: str, tmp_path: Path):
    options: dict[str, Any] = {"name": "burgers"} | OPTIONS | change
    with pytest.raises(InputError, match=message):
        simulated(**options, folder=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_file_of_the_users_own_is_never_replaced(tmp_path: Path):
    file = tmp_path / "mine.h5"
    file.write_text("precious")
    with pytest.raises(InputError, match=r"mine\.h5 is not an HDF5 file"):
        generate(REQUEST, file, always=True)
    assert file.read_text() == "precious"
    write_simulations(file, simulator("pendulum").simulate(2))
    with pytest.raises(InputError, match=r"mine\.h5 holds other data than those asked for: choose another file"):
        generate(REQUEST, file, always=True)


def test_without_h5py(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(making, "WORTH_KEEPING", 0.0)
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.warns(UserWarning, match=r"made again each time, .* pip install 'integrand\[physics\]'"):
        assert len(simulated("burgers", **OPTIONS, folder=tmp_path)) == 11
    with pytest.raises(InputError, match=r"pip install 'integrand\[physics\]'"):
        generate(REQUEST, tmp_path / "a.h5", always=True)
    assert list(tmp_path.iterdir()) == []


def test_joining_data_that_differ():
    one, two = simulator("burgers").simulate(1, points=(64,)), simulator("burgers").simulate(1, points=(65,))
    with pytest.raises(InputError, match="burgers and burgers have not the same grid: they cannot be joined"):
        joined([one, two])
