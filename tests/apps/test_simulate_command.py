"""``integrand data simulate`` and ``integrand list simulators``."""

from pathlib import Path

import pytest
import torch

from integrand.apps.cli import main
from integrand.apps.commands.simulate import _parameter, _times
from integrand.datasets.simulation_files import read_simulations
from integrand.datasets.synthetic.simulators import SIMULATORS, simulator

pytest.importorskip("h5py")


def told(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> tuple[str, str]:
    """Run a command, demand its exit code, and return what it printed to stdout and stderr."""
    assert main(["data", "simulate", *words]) == code
    out, err = capsys.readouterr()
    return out, err


def test_a_file_with_what_was_asked_for(capsys: pytest.CaptureFixture[str], tmp_path: Path):
    file = tmp_path / "pendulum.h5"
    words = ["pendulum", "--samples", "3", "--times", "0:1:0.1", "--parameter", "length=0.5:2", "--seed", "5"]
    words += ["--step-size", "0.01", "--output", str(file)]
    out, err = told(capsys, *words)
    data = read_simulations(file)
    expected = simulator("pendulum").simulate(
        3, times=[0.1 * i for i in range(11)], parameters={"length": (0.5, 2)}, seed=5, step_size=0.01
    )
    assert torch.allclose(data.values, expected.values, rtol=0, atol=1e-13)
    assert torch.equal(data.parameters["length"], expected.parameters["length"])
    lines = dict(line.split("  ", 1) for line in out.splitlines())
    assert {name: value.strip() for name, value in lines.items()} == {
        "file": str(file),
        "samples": "3",
        "times": "11, 0 to 1",
        "channels": "angle, momentum",
        "solver": "dopri8 with fixed steps",
        "time step": f"0.01, error {data.provenance['time_step_error']:.1e}",
    }
    assert err.splitlines()[-1] == "100%  pendulum: 3 samples"
    assert told(capsys, *words) == (out, f"100%  read from {file}\n")


def test_the_folder_of_data(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("INTEGRAND_DATA", str(tmp_path))
    out, _ = told(
        capsys,
        *("burgers", "--samples", "2", "--points", "64", "--lengths", "1", "--times", "0,0.5,2"),
        *("--parameter", "viscosity=0.1", "--precision", "single"),
    )
    (file,) = (tmp_path / "simulated").iterdir()
    assert file.name.startswith("burgers-")
    assert str(file) in out
    data = read_simulations(file)
    assert (data.values.dtype, data.shape, data.lengths) == (torch.float32, (64,), (1.0,))
    assert data.times.tolist() == [0, 0.5, 2]
    assert "time step  none, a closed form" in out
    assert "grid       64" in out


def test_a_system_of_another_size(capsys: pytest.CaptureFixture[str], tmp_path: Path):
    file = tmp_path / "chain.h5"
    words = ["spring_chain", "--samples", "2", "--times", "0:1:0.5", "--output", str(file)]
    out, _ = told(capsys, *words, "--size", "masses=3")
    assert "channels   position_1, position_2, position_3, momentum_1, momentum_2, momentum_3" in out
    data = read_simulations(file)
    expected = simulator("spring_chain", masses=3).simulate(2, times=[0.0, 0.5, 1.0])
    assert torch.allclose(data.values, expected.values, rtol=0, atol=1e-13)
    assert data.provenance["masses"] == 3
    _, err = told(capsys, *words, "--size", "masses=4", code=2)
    assert "chain.h5 holds other data than those asked for" in err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("spring_chain --size mases=8", "unknown size of spring_chain 'mases': did you mean 'masses'? Known: masses."),
        ("pendulum --size masses=8", "unknown size of pendulum 'masses'. Known: none."),
        ("spring_chain --size masses=1", "spring_chain: masses=1 is out of range: at least 2."),
        (
            "spring_chain --size masses=1.5",
            "--size: expected a name and a whole number, such as masses=8, got 'masses=",
        ),
        ("spring_chain --size masses=8 --size masses=9", "--size names the same size twice: leave one out."),
        ("burger", "unknown simulator 'burger': did you mean 'burgers'?"),
        ("burgers --parameter viscsity=1", "unknown parameter of burgers 'viscsity': did you mean 'viscosity'?"),
        ("burgers --parameter viscosity", "--parameter: expected a name and a value or bounds, such as viscosity=0.01"),
        ("burgers --parameter viscosity=1 --parameter viscosity=2", "--parameter names the same parameter twice"),
        ("burgers --times 0:1:0.3", "--times: steps of 0.3 do not lead from 0 to 1: choose another"),
        ("burgers --times 0:1", "--times: expected first:last:step, such as 0:1:0.1, or numbers with commas between"),
        ("burgers --points 64x64", "burgers: points=(64, 64) is out of range: 1 positive numbers."),
        ("burgers --points big", "--points: expected whole numbers with x between, such as 256 or 64x64, got 'big'"),
        ("pendulum --points 64", "pendulum is a system of ordinary differential equations: it has no grid."),
        ("pendulum --device abacus", "--device abacus is not available here ("),
        ("pendulum --sample 3", "unknown option '--sample': did you mean '--samples'?"),
        ("", "missing NAME (the simulator, see 'integrand list simulators')"),
    ],
)
def test_hints(
    words: str, message: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setenv("INTEGRAND_DATA", str(tmp_path))
    _, err = told(capsys, *words.split(), code=2)
    assert f"error: {message}" in err
    assert list(tmp_path.rglob("*.h5")) == []


def test_simulate_stands_first(capsys: pytest.CaptureFixture[str]):
    assert main(["data", "--", "simulate", "burgers"]) == 2
    assert "'simulate' comes first: integrand data simulate NAME." in capsys.readouterr().err


def test_values_of_options():
    assert _times("0:1:0.1")[3] == 0.3
    assert _times("0:1:0.1")[-1] == 1.0
    assert _times("2:2:1") == (2.0,)
    assert _parameter("a=-1:1e-3") == ("a", (-1.0, 1e-3))


def test_list_of_simulators(capsys: pytest.CaptureFixture[str]):
    assert main(["list", "simulators"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(SIMULATORS)
    assert "viscosity=0.1" in next(line for line in lines if line.startswith("burgers"))
    assert "masses=5, mass=1" in next(line for line in lines if line.startswith("spring_chain"))
