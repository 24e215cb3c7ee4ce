"""The table of the planets: DE421's own constants, Kepler's laws, Newton's law and what is beyond it."""

import hashlib
import importlib.util
import lzma
import math
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from torch import Tensor

from integrand.core.errors import InputError
from integrand.core.numerics import solve_ode
from integrand.datasets.real import planets
from integrand.datasets.simulations import Simulations
from integrand.datasets.synthetic.systems.n_body import gravity

FOLDER = Path(__file__).parents[2] / "datasets" / "real"
CENTURY, ARC_SECONDS = 36_525.0, 180 / math.pi * 3600
STRENGTHS = torch.tensor(list(planets.GM.values()), dtype=torch.float64)


@pytest.fixture(scope="module")
def sky() -> Simulations:
    return planets.load()


def halves(states: Tensor) -> tuple[Tensor, Tensor]:
    """Positions and velocities (T, B, 3) of states (T, D)."""
    positions, velocities = states.unflatten(-1, (2, -1, 3)).unbind(-3)
    return positions, velocities


def about_the_sun(states: Tensor, body: int) -> tuple[Tensor, Tensor]:
    positions, velocities = halves(states)
    return positions[:, body] - positions[:, 0], velocities[:, body] - velocities[:, 0]


def perihelion(states: Tensor, body: int) -> tuple[Tensor, Tensor]:
    """Laplace's vector, towards the perihelion, and angular momentum of the ellipse that fits at each time, (T, 3)."""
    r, v = about_the_sun(states, body)
    momentum = torch.linalg.cross(r, v)
    pull = torch.linalg.cross(v, momentum) / (STRENGTHS[0] + STRENGTHS[body])
    return pull - r / r.norm(dim=-1, keepdim=True), momentum


def energy(states: Tensor) -> Tensor:
    positions, velocities = halves(states)
    i, j = torch.triu_indices(len(STRENGTHS), len(STRENGTHS), 1)
    kinetic = (STRENGTHS * velocities.square().sum(-1)).sum(-1) / 2
    return kinetic - (STRENGTHS[i] * STRENGTHS[j] / (positions[:, i] - positions[:, j]).norm(dim=-1)).sum(-1)


def test_what_is_in_the_table(sky: Simulations):
    assert sky.values.shape == (1, 3424, 54)
    assert sky.values.dtype == torch.float64
    assert sky.channels[:4] == ("sun_x", "sun_y", "sun_z", "mercury_x")
    assert sky.channels[27:29] == ("sun_vx", "sun_vy")
    assert sky.times[1] == 16
    assert sky.units["mars_vy"] == "AU/day"
    assert sky.units["mars_y"] == "AU"
    assert float(sky.parameters["gm_sun"]) == pytest.approx(0.01720209895**2, rel=1e-9)  # Gauss's constant


def test_the_row_of_de421s_own_epoch(sky: Simulations):
    """Constants XS, X1, XB, X5, ... of DE421: states at JD 2440400.5, from which it was computed."""
    expected = {
        "sun": (0.004502509768645251, 0.0007670778392974933, 0.0002660582328325057),
        "mercury": (0.3617627171069268, -0.09078196279631348, -0.0857149819754544),
        "earth_moon": (0.1205174164491314, -0.9258384731255431, -0.4015402262308286),
        "jupiter": (-5.379706768297444, -0.8304814016092148, -0.224828765560295),
        "neptune": (-16.05504055116263, -23.94218959225165, -9.400156803383405),
    }
    velocities = {
        "mercury": (0.003367493903543759, 0.02489452008716851, 0.01294630135160613),
        "neptune": (0.002642770361879243, -0.001498312896391299, -0.0006790418405641146),
    }
    row = int((2_440_400.5 - planets.EPOCH) / planets.STEP)
    for body, state in expected.items():
        found = [float(sky.values[0, row, sky.channels.index(f"{body}_{axis}")]) for axis in "xyz"]
        assert found == pytest.approx(state, abs=0.5001e-9)
    for body, state in velocities.items():
        found = [float(sky.values[0, row, sky.channels.index(f"{body}_v{axis}")]) for axis in "xyz"]
        assert found == pytest.approx(state, abs=0.5001e-11)


def test_the_barycentre_rests(sky: Simulations):
    """Up to the bodies left out, Pluto and the asteroids, and relativity: a thousandth of how far the Sun moves."""
    positions, velocities = halves(sky.values[0])
    weights = (STRENGTHS / STRENGTHS.sum())[:, None]
    assert float((weights * positions).sum(1).abs().max()) < 1e-6
    assert float((weights * velocities).sum(1).abs().max()) < 1e-9


@pytest.mark.parametrize(
    ("body", "nearest", "farthest", "days"),
    [
        ("mercury", 0.3075, 0.4667, 87.969),
        ("venus", 0.7184, 0.7282, 224.701),
        ("earth_moon", 0.9833, 1.0167, 365.256),
        ("mars", 1.3814, 1.6660, 686.980),
        ("jupiter", 4.950, 5.457, 4332.6),
    ],
)
def test_distances_and_periods_are_the_textbooks(
    sky: Simulations, body: str, nearest: float, farthest: float, days: float
):
    """Perihelion and aphelion (AU) and sidereal period, by the third law from the mean axis of the fitted ellipses."""
    place = planets.BODIES.index(body)
    r, v = about_the_sun(sky.values[0], place)
    distance, strength = r.norm(dim=-1), STRENGTHS[0] + STRENGTHS[place]
    assert float(distance.min()) == pytest.approx(nearest, rel=5e-4)
    assert float(distance.max()) == pytest.approx(farthest, rel=5e-4)
    axis = 1 / (2 / distance - v.square().sum(-1) / strength)
    assert float(2 * math.pi * (axis**3 / strength).sqrt().mean()) == pytest.approx(days, rel=5e-5)


def test_newtons_law_and_what_is_beyond_it(sky: Simulations):
    """Ten years by Newton's law from the first row: energy stays, and the planets are where the table has them but for
    general relativity, which turns the perihelia of Mercury and Venus by 42.98 and 8.62 arc seconds a century more."""
    table, times = sky.values[0, :230], sky.times[:230]

    def newton(t: Tensor, y: Tensor) -> Tensor:
        positions, velocities = y.unflatten(-1, (2, -1, 3)).unbind(1)
        return torch.stack([velocities, gravity(positions, STRENGTHS)], dim=1).flatten(1)

    solved = solve_ode(newton, table[:1], times, method="dopri8", step_size=2.0).states[0]
    assert float((energy(solved) / energy(table[:1]) - 1).abs().max()) < 1e-11
    assert float((energy(sky.values[0]) / energy(table[:1]) - 1).abs().max()) < 1e-8
    apart = (halves(solved)[0] - halves(table)[0]).norm(dim=-1).amax(0)
    assert float(apart.max()) < 2e-5
    assert float(apart[5:].max()) < 1e-6  # Jupiter and beyond
    for body, rate in ((1, 42.98), (2, 8.62)):
        (by_newton, momentum), (in_table, _) = perihelion(solved, body), perihelion(table, body)
        upright = momentum / momentum.norm(dim=-1, keepdim=True)
        turned = (torch.linalg.cross(by_newton, in_table) * upright).sum(-1) / by_newton.square().sum(-1)
        slope = np.polyfit(times.numpy() / CENTURY, turned.numpy() * ARC_SECONDS, 1)[0]
        assert slope == pytest.approx(rate, rel=0.01)


def test_some_bodies(sky: Simulations):
    outer = planets.load(["sun", "jupiter"])
    assert outer.channels == tuple(
        f"{body}_{v}{axis}" for v in ("", "v") for body in ("sun", "jupiter") for axis in "xyz"
    )
    columns = [sky.channels.index(channel) for channel in outer.channels]
    torch.testing.assert_close(outer.values, sky.values[..., columns], rtol=0, atol=0)
    assert list(outer.parameters) == ["gm_sun", "gm_jupiter"]


def test_unknown_bodies_are_refused():
    with pytest.raises(InputError, match="unknown body 'earth': did you mean 'earth_moon'"):
        planets.load(["sun", "earth"])
    with pytest.raises(InputError, match=r"bodies=\[\] is empty"):
        planets.load([])


def make_script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_planets", FOLDER / "make_planets.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_file_is_that_of_its_provenance():
    archive, content, file = re.findall(r"`([0-9a-f]{64})`", (FOLDER / "planets.PROVENANCE.md").read_text("utf-8"))
    raw = (FOLDER / "planets.csv.xz").read_bytes()
    assert hashlib.sha256(raw).hexdigest() == file
    assert hashlib.sha256(lzma.decompress(raw)).hexdigest() == content
    script = make_script()
    assert archive == script.SOURCE_SHA256
    assert (script.FIRST, script.STEP, tuple(script.BODIES)) == (planets.EPOCH, planets.STEP, planets.BODIES)


def test_the_file_equals_its_source(tmp_path: Path):
    """Where de421 is installed, or PLANETS_SOURCE names the folder that holds jpl-sun.npy."""
    spec = importlib.util.find_spec("de421")
    installed = Path(spec.origin).parent if spec and spec.origin else None
    source = Path(os.environ.get("PLANETS_SOURCE") or installed or "absent")
    if not (source / "jpl-sun.npy").is_file():
        pytest.skip("no source: install de421 2008.1, or name the folder that holds jpl-sun.npy with PLANETS_SOURCE")
    target = tmp_path / "planets.csv.xz"
    script = str(FOLDER / "make_planets.py")
    subprocess.run([sys.executable, script, str(source), "--target", str(target)], check=True, capture_output=True)
    assert lzma.decompress(target.read_bytes()) == lzma.decompress((FOLDER / "planets.csv.xz").read_bytes())
