"""Gradients are costates: back-propagation and implicit differentiation are equations that run backwards."""

import numpy as np
import torch
from comparison import Array, apart, array, flow, order
from correspondence import correspondence
from scipy.integrate import solve_ivp
from torch import Tensor, nn

from integrand.core.fields import Relaxation
from integrand.core.layers import DeepEquilibrium

START = np.array([1.0, -0.5, 0.8])
END = 1.0


@correspondence(
    architecture="back-propagation",
    explains=("NeuralODE",),
    level="training",
    equation="a' = -(df/dy)^T a backwards, dL/dp = integral a^T df/dp dt, the adjoint equation",
    discretisation="of the residual network's forward Euler, by automatic differentiation: of order 1",
    follows="gradients are costates: they may be solved for with any method, and without stored activations",
    source="Chen, Rubanova, Bettencourt and Duvenaud (2018), Neural ordinary differential equations, Eqs. 4 and 5",
    tolerance=0.1,
    error_of="measured order less 1, of gradients by start and weights",
)
def test_back_propagation_approaches_the_adjoint_equation() -> float:
    torch.manual_seed(0)
    layer = nn.Linear(3, 3).double()
    w, b = array(layer.weight), array(layer.bias)
    y0 = torch.from_numpy(START).requires_grad_()
    forward = solve_ivp(
        lambda t, y: np.tanh(w @ y + b), (0, END), START, "DOP853", rtol=1e-12, atol=1e-13, dense_output=True
    )

    def backward(t: float, state: Array) -> Array:
        """The costate and the integral for the weights, in time that runs from the end."""
        y, a = forward.sol(END - t), state[0]
        through = a * (1 - np.tanh(w @ y + b) ** 2)
        return np.vstack([through @ w, np.outer(through, y)])

    last = forward.y[:, -1]
    expected = flow(backward, np.vstack([last, np.zeros((3, 3))]), END)

    def error(pieces: int) -> float:
        y = y0
        for _ in range(pieces):
            y = y + torch.tanh(layer(y)) / pieces
        gradients = torch.autograd.grad(y.square().sum() / 2, (y0, layer.weight))
        return apart(np.vstack([array(each) for each in gradients]), expected)

    return abs(order(error, 64) - 1)


@correspondence(
    architecture="implicit differentiation of an equilibrium",
    explains=("DeepEquilibrium",),
    level="training",
    equation="a' = (df/dz)^T a + dL/dz backwards without end: a costate that comes to rest, dL/dx = a^T df/dx",
    discretisation="none: the steady costate is found by a fixed-point method",
    follows="the gradient of an endless network is one linear equation, and no layer's activations are stored",
    source="Bai, Kolter and Koltun (2019), Deep equilibrium models, Theorem 1",
    tolerance=1e-9,
)
def test_the_gradient_of_an_equilibrium_is_a_costate_at_rest() -> float:
    torch.manual_seed(0)
    cell = nn.RNNCell(2, 3).double()
    nn.init.orthogonal_(cell.weight_hh, gain=0.6)
    u, w, c, b = (array(each) for each in (cell.weight_ih, cell.weight_hh, cell.bias_ih, cell.bias_hh))
    x = torch.randn(1, 2, dtype=torch.float64, requires_grad=True)
    layer = DeepEquilibrium(Relaxation(Called(cell)), 3, rtol=1e-13, atol=1e-13)
    (found,) = torch.autograd.grad(layer(x).z.square().sum() / 2, x)
    drive = u @ x.detach().numpy()[0] + c + b
    z = flow(lambda t, z: np.tanh(w @ z + drive) - z, np.zeros(3), 100.0)
    steep = 1 - z**2  # the slope of tanh where its value is z
    costate = flow(lambda t, a: w.T @ (steep * a) - a + z, np.zeros(3), 100.0)
    return apart(found[0], (costate * steep) @ u)


class Called(nn.Module):
    """A recurrent cell called with its state first."""

    def __init__(self, cell: nn.RNNCell) -> None:
        super().__init__()
        self.cell = cell

    def forward(self, z: Tensor, x: Tensor) -> Tensor:
        return self.cell(x, z)
