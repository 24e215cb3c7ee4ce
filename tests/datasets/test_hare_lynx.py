"""The pelts: known years, the file of its provenance, and the published fit of Lotka and Volterra's equations."""

import hashlib
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp
from scipy.optimize import least_squares

from integrand.datasets.real import hare_lynx
from integrand.datasets.synthetic.simulators import simulator
from integrand.datasets.synthetic.systems.system import System

FOLDER = Path(__file__).parents[2] / "datasets" / "real"


def test_known_years():
    pelts = hare_lynx.load()
    assert pelts.values.shape == (1, 21, 2)
    assert pelts.values.dtype == torch.float64
    assert pelts.values[0, 3].tolist() == [77.4, 35.2]  # 1903, the first peak of the hare
    assert pelts.values[0, 4].tolist() == [36.3, 59.4]  # 1904, the first peak of the lynx
    assert pelts.values[0, 15].tolist() == [19.5, 51.1]  # 1915, its second
    assert pelts.times.tolist() == list(range(21))
    hare, lynx = pelts.values[0].unbind(-1)
    assert (int(hare.argmax()), int(lynx.argmax())) == (3, 4)
    assert float(hare.mean()) == pytest.approx(34.0810, abs=1e-4)
    assert float(lynx.mean()) == pytest.approx(20.1667, abs=1e-4)


def test_the_file_is_that_of_its_provenance():
    (ours,) = re.findall(r"`([0-9a-f]{64})`", (FOLDER / "hare_lynx.PROVENANCE.md").read_text("utf-8"))
    assert hashlib.sha256((FOLDER / "hare_lynx.csv").read_bytes()).hexdigest() == ours


def test_the_published_fit_is_found():
    """Greatest likelihood with logarithmic errors, within a posterior standard deviation of Carpenter (2018)."""
    published = {"alpha": (0.55, 0.06), "beta": (0.028, 0.004), "delta": (0.80, 0.09), "gamma": (0.024, 0.004)}
    one, pelts = simulator("lotka_volterra"), hare_lynx.load()
    assert isinstance(one, System)
    times, counted = pelts.times.numpy(), pelts.values[0].log().numpy()

    def misfit(logs: np.ndarray) -> np.ndarray:
        own = {name: torch.tensor([np.exp(value)]) for name, value in zip(published, logs[2:], strict=True)}

        def field(t: float, y: np.ndarray) -> np.ndarray:
            return one.field(torch.tensor(t), torch.from_numpy(y)[None], own)[0].numpy()

        solved = solve_ivp(field, (0, 20), np.exp(logs[:2]), t_eval=times, rtol=1e-6, atol=1e-8)
        return (np.log(solved.y.T) - counted).ravel()

    fit = least_squares(misfit, np.log([30, 5, 0.5, 0.03, 0.8, 0.025]))
    for (name, (mean, deviation)), found in zip(published.items(), np.exp(fit.x[2:]), strict=True):
        assert found == pytest.approx(mean, abs=deviation), name
    assert float(np.sqrt(2 * fit.cost / (42 - 6))) == pytest.approx(0.25, abs=0.05)
