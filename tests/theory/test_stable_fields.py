"""Fields that are stable by construction: rates, equilibria and inverses, measured.

Guarantees hold for any weights, so that the weights here are large.
"""

import numpy as np
import torch
from correspondence import correspondence
from deviation import Array, deviation, numbers
from scipy.linalg import cholesky
from scipy.optimize import root

from integrand.core.fields import (
    MLP,
    ContractiveField,
    ConvexLyapunov,
    LipschitzMLP,
    LyapunovStableField,
    MonotoneField,
)
from integrand.core.numerics import solve_ode

STILL = torch.zeros((), dtype=torch.float64)


def starts(*shape: int) -> Array:
    return np.random.default_rng(0).normal(size=shape)


@correspondence(
    architecture="contractive recurrent network in continuous time",
    explains=("ContractiveField",),
    level="field",
    equation="d/dt |y_1 - y_2|_P <= -c |y_1 - y_2|_P, the logarithmic norm of df/dy in P being at most -c",
    discretisation="exact",
    follows="what was long ago is forgotten at a rate that is chosen, so errors of sensors and solvers die out",
    source="Lohmiller and Slotine (1998), On contraction analysis for non-linear systems; Desoer and Vidyasagar "
    "(1975), Feedback systems: input-output properties, Section II.8",
    tolerance=1e-9,
    error_of="largest excess of the logarithmic norm over -c, or its distance from -c where the bound is reached",
)
def test_the_logarithmic_norm_of_a_contractive_field_is_at_most_its_rate() -> float:
    """For large weights and many states; where the network is off the bound is reached."""
    torch.manual_seed(0)
    worst = 0.0
    for size in (1.0, 5.0, 0.0):
        field = ContractiveField(3, 8, rate=0.7, metric=True).double()
        assert field.root is not None
        with torch.no_grad():
            for each in (field.b, field.c):
                each.mul_(size)
            field.root.mul_(5.0)
        upper = cholesky(numbers(field.metric))  # P = U^T U: |y|_P is the length of U y
        for y in 2 * starts(40, 3):
            columns = [
                numbers(field(STILL, torch.from_numpy(y + s * 1e-4 * e)[None])[0]) * s / 2e-4
                for e in np.eye(3)
                for s in (1, -1)
            ]
            jacobian = np.stack([columns[2 * i] + columns[2 * i + 1] for i in range(3)], axis=1)
            seen = upper @ jacobian @ np.linalg.inv(upper)
            excess = float(np.linalg.eigvalsh((seen + seen.T) / 2).max()) + 0.7
            worst = max(worst, excess if size else abs(excess))
    return worst


@correspondence(
    architecture="network that is stable by a Lyapunov function",
    explains=("LyapunovStableField", "ConvexLyapunov"),
    level="field",
    equation="dV/dt = min(dV/dy . h, -alpha V)",
    discretisation="exact",
    follows="stability costs a projection: where the nominal network is stable already it is left as it is",
    source="Kolter and Manek (2019), Learning stable deep dynamics models",
    tolerance=1e-9,
)
def test_a_lyapunov_stable_field_lets_its_function_fall_at_the_rate() -> float:
    """The slope of V and the nominal field are found by autograd and by two calls; both cases occur."""
    torch.manual_seed(0)
    field = LyapunovStableField(3, (8,), rate=0.5, nominal=MLP(3, (8,))).double()
    with torch.no_grad():
        for each in field.nominal.parameters():
            each.mul_(4)
    assert isinstance(field.lyapunov, ConvexLyapunov)
    y = torch.from_numpy(3 * starts(200, 3)).requires_grad_()
    values = field.lyapunov(y)
    slopes = numbers(torch.autograd.grad(values.sum(), y)[0])
    nominal = numbers(field.nominal(STILL, y) - field.nominal(STILL, torch.zeros_like(y)))
    free, allowed = (slopes * nominal).sum(1), -0.5 * numbers(values)
    assert (free < allowed).any()
    assert (free > allowed).any()
    return deviation((slopes * numbers(field(STILL, y))).sum(1), np.minimum(free, allowed))


@correspondence(
    architecture="monotone operator equilibrium network",
    explains=("MonotoneField",),
    level="field",
    equation="dz/dt = -z + relu(W z + U x + b), at rest",
    discretisation="the limit of time; Peaceman and Rachford's splitting",
    follows="there is one fixed point and the flow reaches it, also where the plain iteration runs away",
    source="Winston and Kolter (2020), Monotone operator equilibrium networks, Theorem 1",
    tolerance=1e-9,
)
def test_the_steady_state_of_a_monotone_field_is_its_one_fixed_point() -> float:
    """Against a root that scipy finds, from zero; the flow and the splitting begin far away."""
    torch.manual_seed(0)
    field = MonotoneField(4, 2, margin=0.5).double()
    with torch.no_grad():
        field.b.mul_(6)
        field.bias.copy_(torch.tensor([1.0, -0.5, 0.8, 0.3]))
    x = torch.from_numpy(starts(1, 2))
    w, drive = numbers(field.matrix), numbers(field.drive(x))[0]
    exact = root(lambda z: np.maximum(w @ z + drive, 0) - z, np.zeros(4), tol=1e-14).x
    plain = np.zeros(4)
    for _ in range(100):
        plain = np.maximum(w @ plain + drive, 0)
    assert np.abs(plain - exact).max() > 1e6, "the plain iteration does not run away"
    far = torch.full((1, 4), 10.0, dtype=torch.float64)
    rest = solve_ode(field, far, [0.0, 60.0], args=x, method="dopri8", rtol=1e-12, atol=1e-12).states[0, -1]
    splitting = field.splitting(x)
    u = splitting.enter(far)
    for _ in range(1000):
        u = splitting.map(u)
    return max(deviation(rest, exact), deviation(splitting.leave(u)[0], exact))


@correspondence(
    architecture="invertible residual network",
    explains=("LipschitzMLP",),
    level="field",
    equation="dy/dt = f(y), |f(y) - f(z)| <= L |y - z|",
    discretisation="forward Euler with steps h < 1 / L",
    follows="a block can be undone by a fixed-point iteration, each round of which leaves at most the share h L",
    source="Behrmann, Grathwohl, Chen, Duvenaud and Jacobsen (2019), Invertible residual networks, Theorem 1",
    tolerance=1e-12,
    error_of="distance of the inverse from the input, or excess of a round's ratio over h L",
)
def test_a_short_euler_step_of_a_lipschitz_field_can_be_undone() -> float:
    torch.manual_seed(0)
    field, y, h = LipschitzMLP(3, (8,), lipschitz=1.0).double(), torch.from_numpy(starts(20, 3)), 0.5
    with torch.no_grad():
        for each in field.parameters():
            each.mul_(20)
        end = solve_ode(field, y, [0.0, h], method="euler", step_size=h).states[:, -1]
        guess, worst = end, 0.0
        for _ in range(60):
            nearer = end - h * field(STILL, guess)
            ratios = (nearer - y).norm(dim=1) - h * (guess - y).norm(dim=1)
            guess, worst = nearer, max(worst, float(ratios.max()))
    return max(worst, deviation(guess, numbers(y)))
