"""Diagonal state spaces are linear differential equations: S4D, S5, LRU and LinOSS beside solvers that know of none."""

import math

import numpy as np
import pytest
import torch
from comparison import Array, apart, array, flow, held, order
from correspondence import correspondence
from numpy.polynomial import legendre
from scipy.integrate import quad_vec
from scipy.linalg import expm

from integrand.core.layers import LRU, S4D, S5, LinOSS
from integrand.core.layers.hippo import legs, legs_normal

LENGTH, CHANNELS, STATES = 12, 2, 6


class RealSystem:
    """An S5 layer in real blocks: h' = A h + B x, y = C h + D x, with h the real parts over the imaginary ones."""

    def __init__(self, layer: S5) -> None:
        speed = np.exp(array(layer.log_step))
        decay, frequency = speed * -np.exp(array(layer.log_decay)), speed * array(layer.frequency)
        b, c = array(layer.b), array(layer.c)
        self.a = np.block([[np.diag(decay), -np.diag(frequency)], [np.diag(frequency), np.diag(decay)]])
        # An impulse brings B x; an input held over time brings Delta B x for each unit of it.
        self.jump = np.concatenate([b[..., 0], b[..., 1]])
        self.b = np.concatenate([speed, speed])[:, None] * self.jump
        self.c = 2 * np.concatenate([c[..., 0], -c[..., 1]], axis=1)
        self.d = np.diag(array(layer.d))


def layer_and_inputs(discretization: str, time_scale: float = 1.0) -> tuple[S5, Array, Array]:
    torch.manual_seed(0)
    layer = S5(
        CHANNELS,
        d_state=STATES,
        dt_min=0.1,
        dt_max=0.5,
        discretization=discretization,  # pyright: ignore[reportArgumentType]
        time_scale=time_scale,
    ).double()
    return layer, *sequence()


def sequence() -> tuple[Array, Array]:
    random = np.random.default_rng(0)
    return random.normal(size=(LENGTH, CHANNELS)), random.exponential(size=LENGTH)


def outputs_of(layer: torch.nn.Module, x: Array, dt: Array | float) -> Array:
    times = torch.from_numpy(dt)[None] if isinstance(dt, np.ndarray) else dt
    return array(layer(torch.from_numpy(x)[None], times).y[0])


@correspondence(
    architecture="S5 state-space layer",
    explains=("S5",),
    level="layer",
    equation="h' = Lambda h + B x(t), y = Re C h + D x, with x held between elements",
    discretisation="exact, by the exponential of a diagonal matrix",
    follows="any interval between elements costs one step and no error; a held input may be cut into pieces",
    source="Smith, Warrington and Linderman (2023), Simplified state space layers for sequence modeling",
    tolerance=1e-12,
)
def test_s5_is_the_exact_solution_of_a_linear_ode_with_held_inputs() -> float:
    """Over each interval, expm([[A, B x], [0, 0]] dt) moves (h, 1): no quadrature, no eigenvalues."""
    layer, x, dt = layer_and_inputs("zoh")
    system, h, expected = RealSystem(layer), np.zeros(STATES), []
    for inputs, interval in zip(x, dt, strict=True):
        augmented = np.zeros((STATES + 1, STATES + 1))
        augmented[:STATES, :STATES], augmented[:STATES, -1] = system.a, system.b @ inputs
        h = (expm(augmented * interval) @ np.append(h, 1.0))[:STATES]
        expected.append(system.c @ h + system.d @ inputs)
    return apart(outputs_of(layer, x, dt), np.array(expected))


def test_s5_is_what_a_general_solver_finds():
    layer, x, dt = layer_and_inputs("zoh", time_scale=2.5)
    system = RealSystem(layer)
    h = held(lambda h, x: system.a @ h + system.b @ x, np.zeros(STATES), x, dt / 2.5)
    # The system is stable, so scipy's local errors add up to no more than a few hundred tolerances.
    assert apart(outputs_of(layer, x, dt), h @ system.c.T + x @ system.d.T) < 1e-10


def test_a_held_input_may_be_cut_into_pieces():
    layer, x, dt = layer_and_inputs("zoh")
    pieces = outputs_of(layer, np.repeat(x, 3, axis=0), np.outer(dt, [0.2, 0.5, 0.3]).ravel())
    whole = outputs_of(layer, x, dt)
    np.testing.assert_allclose(pieces[2::3], whole, rtol=0, atol=1e-13 * np.abs(whole).max() * LENGTH)


@correspondence(
    architecture="S5 state-space layer for events",
    explains=("S5",),
    level="layer",
    equation="h' = Lambda h + sum_l B x_l delta(t - t_l), y = Re C h + D x",
    discretisation="exact: between impulses the matrix exponential, at each a jump",
    follows="what an observation weighs does not depend on the gap before it, as it does where inputs are held",
    source="Schoene et al. (2024), Scalable event-by-event processing of neuromorphic sensory signals with deep "
    "state-space models",
    tolerance=1e-12,
)
def test_s5_with_impulses_is_a_linear_ode_that_jumps() -> float:
    layer, x, dt = layer_and_inputs("dirac")
    system, h, expected = RealSystem(layer), np.zeros(STATES), []
    for inputs, interval in zip(x, dt, strict=True):
        h = expm(system.a * interval) @ h + system.jump @ inputs
        expected.append(system.c @ h + system.d @ inputs)
    return apart(outputs_of(layer, x, dt), np.array(expected))


@correspondence(
    architecture="impulses and held inputs",
    explains=("S5",),
    level="layer",
    equation="h' = Lambda h + B x_l / w over a width w after each element, w going to 0",
    discretisation="exact for each width; the layer of impulses is the limit",
    follows="the two layers are ends of one family, and a short strong input is an event",
    source="Oppenheim and Willsky (1997), Signals and systems, Section 2.5 on the impulse as a limit",
    tolerance=0.1,
    error_of="measured order in the width, less 1",
)
def test_an_impulse_is_a_short_strong_input() -> float:
    layer, x, _ = layer_and_inputs("dirac")
    system = RealSystem(layer)
    limit = outputs_of(layer, x, np.full(LENGTH, 0.7))

    def error(pieces: int) -> float:
        width = 1 / pieces
        force, h, outputs = system.jump / width, np.zeros(STATES), []
        for inputs in x:
            h = expm(system.a * (0.7 - width)) @ h
            augmented = np.zeros((STATES + 1, STATES + 1))
            augmented[:STATES, :STATES], augmented[:STATES, -1] = system.a, force @ inputs
            h = (expm(augmented * width) @ np.append(h, 1.0))[:STATES]
            outputs.append(system.c @ h + system.d @ inputs)
        return apart(np.array(outputs), limit)

    return abs(order(error, 500) - 1)


@pytest.mark.parametrize("discretization", ["zoh", "dirac"])
def test_convolution_and_recurrence_agree(discretization: str):
    """For equal intervals the layer is the causal convolution with K_l = C Abar^l Bbar, by powers of a matrix."""
    layer, x, _ = layer_and_inputs(discretization)
    system, interval = RealSystem(layer), 0.4
    step = expm(system.a * interval)
    held_input = np.linalg.solve(system.a, (step - np.eye(STATES)) @ system.b)
    entry = held_input if discretization == "zoh" else system.jump
    kernel = [system.c @ np.linalg.matrix_power(step, power) @ entry for power in range(LENGTH)]
    expected = np.array([sum(kernel[n - m] @ x[m] for m in range(n + 1)) + system.d @ x[n] for n in range(LENGTH)])
    actual = outputs_of(layer, x, np.full(LENGTH, interval))
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-12 * np.abs(expected).max())


class ChannelSystems:
    """An S4D layer as one real system for each channel: matrices A (N, N), inputs b (N,), outputs c (N,), and D."""

    def __init__(self, layer: S4D) -> None:
        speed = np.exp(array(layer.log_step))
        decay, frequency = speed * -np.exp(array(layer.log_decay)), speed * array(layer.frequency)
        c = array(layer.c)
        self.a = [
            np.block([[np.diag(p), -np.diag(q)], [np.diag(q), np.diag(p)]])
            for p, q in zip(decay, frequency, strict=True)
        ]
        half = STATES // 2
        self.b = [np.repeat([s, 0.0], half) for s in speed[:, 0]]
        self.c = 2 * np.concatenate([c[..., 0], -c[..., 1]], axis=1)
        self.d = array(layer.d)


@correspondence(
    architecture="S4D state-space layer as a convolution",
    explains=("S4D",),
    level="layer",
    equation="y(t) = integral_0^t C exp(A (t - s)) B x(s) ds + D x(t), with x held between elements",
    discretisation="exact: the kernel is the Green's function integrated over each interval, convolved by FFT",
    follows="a sequence is mapped in parallel, and the same layer runs as a recurrence, in which intervals may differ",
    source="Gu, Goel and Re (2022), Efficiently modeling long sequences with structured state spaces, Section 2.4",
    tolerance=1e-11,
)
def test_the_kernel_of_s4d_is_a_greens_function() -> float:
    torch.manual_seed(0)
    layer, (x, _), interval = S4D(CHANNELS, d_state=STATES, dt_min=0.1, dt_max=0.5).double(), sequence(), 0.4
    system = ChannelSystems(layer)
    expected = system.d * x
    for channel in range(CHANNELS):
        a, b, c = system.a[channel], system.b[channel], system.c[channel]
        for lag in range(LENGTH):
            weight, _ = quad_vec(lambda s, a=a, b=b, c=c: c @ expm(a * s) @ b, lag * interval, (lag + 1) * interval)
            expected[lag:, channel] += weight * x[: LENGTH - lag, channel]
    recurrence = outputs_of(layer, x, np.full(LENGTH, interval))
    return max(apart(outputs_of(layer, x, interval), expected), apart(recurrence, expected))


@correspondence(
    architecture="S4D state-space layer, bilinear",
    explains=("S4D",),
    level="layer",
    equation="h' = A h + B x(t) in each channel, with x held between elements",
    discretisation="trapezoidal rule",
    follows="stable for every interval, of order 2; frequencies are warped, and what should fade at once rings",
    source="Gu, Goel and Re (2022), Efficiently modeling long sequences with structured state spaces, Eq. 3",
    tolerance=1e-12,
)
def test_bilinear_s4d_is_the_trapezoidal_rule() -> float:
    torch.manual_seed(0)
    layer = S4D(CHANNELS, d_state=STATES, dt_min=0.1, dt_max=0.5, discretization="bilinear").double()
    system, (x, dt) = ChannelSystems(layer), sequence()
    expected = system.d * x
    for channel in range(CHANNELS):
        a, h = system.a[channel], np.zeros(STATES)
        for element, interval in enumerate(dt):
            half, force = interval / 2 * a, interval * system.b[channel] * x[element, channel]
            h = np.linalg.solve(np.eye(STATES) - half, h + half @ h + force)
            expected[element, channel] += system.c[channel] @ h
    return apart(outputs_of(layer, x, dt), expected)


@correspondence(
    architecture="HiPPO-LegS, which the first transitions of S4D and S5 come from",
    explains=("S4D", "S5"),
    level="layer",
    equation="c' = (A c + B f(t)) / t",
    discretisation="exact: c(t) are the Legendre coefficients of f over all of [0, t]",
    follows="the state is the best polynomial of the whole past, at any time scale; deep memory is an initial value",
    source="Gu, Dao, Ermon, Rudra and Re (2020), HiPPO: recurrent memory with optimal polynomial "
    "projections, Theorem 2",
    tolerance=1e-10,
)
def test_hippo_keeps_the_legendre_coefficients_of_the_past() -> float:
    size = 8
    a, b = (array(each) for each in legs(size))
    nodes, weights = legendre.leggauss(80)

    def signal(t: Array | float) -> Array:
        return np.sin(3 * np.asarray(t)) + np.exp(-np.asarray(t))

    def projected(t: float) -> Array:
        """Integrals of f and the normalised Legendre polynomials of 2 s / t - 1 over [0, t], over t."""
        polynomials = legendre.legvander(nodes, size - 1) * np.sqrt(2 * np.arange(size) + 1)
        return weights / 2 * signal((nodes + 1) * t / 2) @ polynomials

    moved = flow(lambda t, c: (a @ c + b * signal(1 + t)) / (1 + t), projected(1.0), 4.0)
    return apart(moved, projected(5.0))


@pytest.mark.parametrize("size", [2, 8, 64])
def test_the_initial_spectrum_is_that_of_the_normal_part_of_hippo(size: int):
    """HiPPO-LegS written out, A_nk = -sqrt((2n+1)(2k+1)) below the diagonal and -(n+1) on it, plus P P^T."""
    matrix = np.zeros((size, size))
    for n in range(size):
        for k in range(size):
            if n > k:
                matrix[n, k] = -math.sqrt((2 * n + 1) * (2 * k + 1))
            elif n == k:
                matrix[n, k] = -(n + 1)
            matrix[n, k] += math.sqrt(n + 0.5) * math.sqrt(k + 0.5)
    found, vectors = (np.asarray(tensor.numpy(), dtype=np.complex128) for tensor in legs_normal(size))
    expected = np.asarray(
        np.linalg.eigvals(matrix), dtype=np.complex128
    )  # of a general matrix: another algorithm than the layer's
    assert (expected.imag > 0).sum() == size // 2
    expected = expected[expected.imag > 0]
    scale = np.abs(expected).max() * size * np.finfo(float).eps
    np.testing.assert_allclose(np.sort(found.imag), np.sort(expected.imag), rtol=0, atol=10 * scale)
    np.testing.assert_allclose(expected.real, -0.5, rtol=0, atol=10 * scale)
    assert (found.real == -0.5).all()
    np.testing.assert_allclose(matrix @ vectors, vectors * found, rtol=0, atol=10 * scale)
    np.testing.assert_allclose(vectors.conj().T @ vectors, np.eye(size // 2), rtol=0, atol=1e-13)


@correspondence(
    architecture="LRU, the linear recurrent unit",
    explains=("LRU",),
    level="layer",
    equation="dh = (-exp(nu) + i theta) h dt + sqrt(2 exp(nu)) B dW, complex Ornstein-Uhlenbeck processes",
    discretisation="exact in law: variance and autocovariance of states are those of the process at all elements",
    follows="white inputs keep the states' variance however elements are spaced: the factor gamma is that of the noise",
    source="Orvieto et al. (2023), Resurrecting recurrent neural networks for long sequences, Section 3.4",
    tolerance=1e-10,
    error_of="largest difference of a covariance, relative to the largest",
)
def test_lru_is_an_ornstein_uhlenbeck_process_driven_by_the_sequence() -> float:
    torch.manual_seed(0)
    layer, (_, dt), early = LRU(CHANNELS, d_state=STATES, r_min=0.3, r_max=0.9).double(), sequence(), LENGTH // 2

    def responses(length: int) -> Array:
        """States after ``length`` elements, to a unit input at each element and channel of all, (L D, N)."""
        units = torch.eye(LENGTH * CHANNELS, dtype=torch.float64).view(-1, LENGTH, CHANNELS)
        return layer(units[:, :length], torch.from_numpy(dt[:length])).state.detach().numpy()

    first, last = responses(early), responses(LENGTH)
    measured = np.concatenate([(last * last.conj()).sum(0), (last * first.conj()).sum(0)])
    rate, phase = np.exp(array(layer.log_decay)), np.exp(array(layer.log_phase))
    noise = 2 * rate * (array(layer.b) ** 2).sum((1, 2))
    before, after = dt[:early].sum(), dt[early:].sum()
    spread = flow(lambda t, p: noise - 2 * rate * p, np.zeros(STATES), before)
    total = flow(lambda t, p: noise - 2 * rate * p, spread, after)
    turned = [expm(after * np.array([[-r, -p], [p, -r]])) @ [1.0, 0.0] for r, p in zip(rate, phase, strict=True)]
    expected = np.concatenate([total, [complex(*z) * p for z, p in zip(turned, spread, strict=True)]])
    return apart(measured, expected)


def oscillators(layer: LinOSS) -> tuple[Array, Array, Array, Array, Array]:
    step = 1 / (1 + np.exp(-array(layer.step_logit)))
    return np.exp(array(layer.log_frequency)), step, array(layer.b), array(layer.c), array(layer.d)


@correspondence(
    architecture="LinOSS-IM, linear oscillatory state space",
    explains=("LinOSS",),
    level="layer",
    equation="p'' = -omega^2 p + B x(t), y = C p + D x, forced harmonic oscillators",
    discretisation="implicit Euler",
    follows="it forgets, the faster the greater omega times the interval; stable for every interval",
    source="Rusch and Rus (2025), Oscillatory state-space models, Section 2",
    tolerance=1e-12,
)
def test_linoss_im_is_implicit_euler_of_oscillators() -> float:
    torch.manual_seed(0)
    layer, (x, dt) = LinOSS(CHANNELS, d_state=STATES).double(), sequence()
    omega, speed, b, c, d = oscillators(layer)
    p, q, expected = np.zeros(STATES), np.zeros(STATES), []
    for inputs, interval in zip(x, dt, strict=True):
        for n, h in enumerate(speed * interval):
            matrix = np.array([[1.0, -h], [h * omega[n] ** 2, 1.0]])
            p[n], q[n] = np.linalg.solve(matrix, [p[n], q[n] + h * b[n] @ inputs])
        expected.append(c @ p + d * inputs)
    return apart(outputs_of(layer, x, dt), np.array(expected))


@correspondence(
    architecture="LinOSS-IMEX, linear oscillatory state space",
    explains=("LinOSS",),
    level="layer",
    equation="q' = -omega^2 p + B x(t), p' = q, the Hamiltonian oscillator",
    discretisation="symplectic Euler",
    follows="an energy of the step is conserved, so states and gradients neither fade nor grow",
    source="Rusch and Rus (2025), Oscillatory state-space models, Section 2",
    tolerance=1e-12,
    error_of="largest difference from the scheme's steps, and drift of the energy, relative",
)
def test_linoss_imex_is_symplectic_euler_of_oscillators() -> float:
    torch.manual_seed(0)
    layer, (x, _) = LinOSS(CHANNELS, d_state=STATES, discretization="imex").double(), sequence()
    omega, h, b, c, d = oscillators(layer)  # for intervals of 1, and each omega h below 1, as it is at the start
    x = np.concatenate([x, np.zeros((200, CHANNELS))])  # then they swing freely
    p, q, expected = np.zeros(STATES), np.zeros(STATES), []
    for inputs in x:
        q = q + h * (-(omega**2) * p + b @ inputs)
        p = p + h * q
        expected.append(c @ p + d * inputs)

    def energy(length: int) -> Array:
        v = layer(torch.from_numpy(x[None, :length])).state[0].detach().numpy()
        p, s = v.real, np.arcsin(omega * h / 2)
        q = omega * (np.cos(s) * v.imag + np.sin(s) * p)
        return q**2 + omega**2 * p**2 - omega**2 * h * p * q

    return max(apart(outputs_of(layer, x, 1.0), np.array(expected)), apart(energy(len(x)), energy(LENGTH)))


@correspondence(
    architecture="LinOSS, either form, as intervals shrink",
    explains=("LinOSS",),
    level="layer",
    equation="p'' = -omega^2 p + B x(t), with x held between elements",
    discretisation="a method of order 1",
    follows="finer samples of the same signal approach one answer: the layer belongs to the signal, not to its rate",
    source="Hairer, Lubich and Wanner (2006), Geometric numerical integration, Section I.1",
    tolerance=0.1,
    error_of="measured order less 1, the larger deviation of the two",
)
def test_linoss_approaches_the_forced_oscillators() -> float:
    deviations = []
    x, dt = sequence()
    for discretization in ("im", "imex"):
        torch.manual_seed(0)
        layer = LinOSS(CHANNELS, d_state=STATES, discretization=discretization).double()
        omega, speed, b, c, d = oscillators(layer)

        def field(y: Array, x: Array, omega: Array = omega, speed: Array = speed, b: Array = b) -> Array:
            return speed * np.array([y[1], b @ x - omega**2 * y[0]])

        positions = held(field, np.zeros((2, STATES)), x, dt)[:, 0]

        def error(pieces: int, layer: LinOSS = layer, expected: Array = positions @ c.T + d * x) -> float:
            fine = outputs_of(layer, np.repeat(x, pieces, axis=0), np.repeat(dt / pieces, pieces))
            return apart(fine[pieces - 1 :: pieces], expected)

        deviations.append(abs(order(error, 64) - 1))
    return max(deviations)
