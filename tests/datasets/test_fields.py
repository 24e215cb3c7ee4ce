"""Windows of fields: the right states, statistics of numpy, and what cannot be learned from is refused."""

import numpy as np
import pytest
import torch

from integrand.core.errors import InputError
from integrand.datasets.fields import FieldTask, FieldWindows
from integrand.datasets.simulations import Simulations
from integrand.datasets.synthetic.simulators import simulator


def solutions(times: int = 5, *, constants: bool = False, samples: int = 3) -> Simulations:
    """Values that tell sample, time, channel and point by their digits."""
    n, t, c, x = torch.meshgrid(
        *(torch.arange(size, dtype=torch.float64) for size in (samples, times, 2, 4)), indexing="ij"
    )
    return Simulations(
        name="digits",
        values=1000 * n + 100 * t + 10 * c + x,
        times=torch.arange(times, dtype=torch.float64) * 0.5,
        channels=("a", "b"),
        coordinates=(torch.arange(4, dtype=torch.float64),),
        lengths=(4.0,),
        periodic=(True,),
        parameters={"fixed": torch.full((samples,), 2.0), "drawn": torch.arange(samples, dtype=torch.float64)},
        constants=torch.randn(samples, 1, 4, dtype=torch.float64) if constants else None,
        constant_names=("k",) if constants else (),
    )


def test_a_window_holds_consecutive_states_of_one_sample():
    windows = FieldWindows(solutions(), 2)
    assert len(windows) == 3 * 3
    batch = windows.__getitems__([0, 4, 8])
    assert batch.values.shape == (3, 3, 2, 4)
    assert batch.values[:, :, 1, 2].tolist() == [[12, 112, 212], [1112, 1212, 1312], [2212, 2312, 2412]]
    assert batch.parameters["drawn"].tolist() == [0, 1, 2]
    assert batch.values.dtype == torch.float32


def test_indices_go_on_from_epoch_to_epoch():
    windows = FieldWindows(solutions(), 1)
    first, later = windows.__getitems__([5]), windows.__getitems__([5 + 3 * len(windows)])
    assert torch.equal(first.values, later.values)


def test_whole_solutions_and_steady_ones_are_one_window_a_sample():
    assert FieldWindows(solutions())[1].values.shape == (1, 5, 2, 4)
    steady = FieldWindows(solutions(1, constants=True), 7)
    assert len(steady) == 3
    batch = steady.batch()
    assert batch.values.shape == (3, 1, 2, 4)
    assert batch.constants is not None
    assert batch.constants.shape == (3, 1, 4)


def test_statistics_are_those_of_numpy_over_what_is_seen():
    given = solutions(6)
    task = FieldTask.of(given, steps=3)
    values = given.values.numpy()
    np.testing.assert_allclose(task.location, values[:, :3].mean((0, 1, 3)), rtol=1e-13)
    np.testing.assert_allclose(task.scale, values[:, :3].std((0, 1, 3)), rtol=1e-13)
    np.testing.assert_allclose(task.target_location, values[:, 1:4].mean((0, 1, 3)), rtol=1e-13)
    assert task.increment_scale == [1.0, 1.0]  # every step is the same, by 100: it has no deviation
    assert (task.interval, task.steps, task.inputs) == (0.5, 3, 3)
    assert task.parameters == ["drawn"]
    assert task == FieldTask(**task.to_dict())


def test_the_length_scale_of_a_wave_is_its_radian_length_whatever_is_carried_along():
    """sin(k x) + m changes over 1 / k, and the difference of neighbours is cos(k x) sinc(k h / 2) at the middle."""
    n, k, m = 64, 3, 7.0
    x = torch.arange(n, dtype=torch.float64) * (2 * np.pi / n)
    waves = torch.stack([(k * x).sin() + m, torch.full_like(x, m)]).expand(2, 3, 2, n)
    task = FieldTask.of(
        Simulations(
            name="waves",
            values=waves,
            times=torch.arange(3, dtype=torch.float64),
            channels=("wave", "still"),
            coordinates=(x,),
            lengths=(2 * np.pi,),
            periodic=(True,),
        )
    )
    half = k * np.pi / n
    np.testing.assert_allclose(task.length_scale, [half / np.sin(half) / k, 2 * np.pi], rtol=1e-12)


def test_a_horizon_beyond_the_solutions_is_refused():
    with pytest.raises(InputError, match=r"data\.horizon=5 is out of range: .* 1 to 4"):
        FieldWindows(solutions(), 5)


def test_what_has_no_grid_or_no_equal_steps_or_nothing_given_is_refused():
    with pytest.raises(InputError, match="--task dynamics"):
        FieldTask.of(simulator("pendulum").simulate(2, times=[0.0, 0.1]))
    uneven = simulator("heat").simulate(2, times=[0.0, 0.1, 0.5], points=(8,))
    with pytest.raises(InputError, match=r"not evenly spaced, from 0\.1 to 0\.4"):
        FieldTask.of(uneven)
    with pytest.raises(InputError, match="one time and no constants"):
        FieldTask.of(solutions(1))
