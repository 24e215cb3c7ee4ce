"""How far numbers are apart, how fast they come together, and what a general solver finds under inputs held in time."""

import math
from collections.abc import Callable, Iterable

import numpy as np
from scipy.integrate import solve_ivp
from torch import Tensor

Array = np.ndarray


def array(tensor: Tensor) -> Array:
    """A copy of a tensor's numbers, in double precision."""
    return tensor.detach().double().numpy().copy()


def apart(actual: Array | Tensor, expected: Array | Tensor) -> float:
    """The largest difference, relative to the largest expected value."""
    actual, expected = (array(each) if isinstance(each, Tensor) else np.asarray(each) for each in (actual, expected))
    assert actual.shape == expected.shape, f"{actual.shape} beside {expected.shape}"
    return float(np.abs(actual - expected).max() / np.abs(expected).max())


def order(error: Callable[[int], float], pieces: int) -> float:
    """The power of the step with which ``error(n)`` of n steps falls, from ``pieces`` steps and twice as many."""
    return math.log2(error(pieces) / error(2 * pieces))


def flow(field: Callable[[float, Array], Array], start: Array, end: float) -> Array:
    """What a state of any shape becomes over a time, by scipy's method of order 8 with errors near rounding."""
    shape = np.shape(start)
    solved = solve_ivp(
        lambda t, y: np.ravel(field(t, y.reshape(shape))), (0.0, end), np.ravel(start), "DOP853", rtol=1e-13, atol=1e-14
    )
    assert solved.success, solved.message
    return solved.y[:, -1].reshape(shape)


def held(
    field: Callable[[Array, Array], Array], start: Array, inputs: Iterable[Array], intervals: Iterable[float]
) -> Array:
    """The states at the end of each interval, over which ``field(state, input)`` has its input held."""
    states = [np.asarray(start)]
    for x, interval in zip(inputs, intervals, strict=True):
        states.append(flow(lambda t, y, x=x: field(y, x), states[-1], interval))
    return np.array(states[1:])
