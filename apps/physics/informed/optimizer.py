"""The optimiser of residuals: Adam to come near, then a quasi-Newton method with its whole matrix.

Dimension letters: P parameters.
"""

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from integrand.core.errors import InputError

MOST = 6000
"""Parameters that the P x P matrix is kept for: 288 MB in float64."""
DECAY, SQUARE_DECAY, TINY = 0.9, 0.999, 1e-8
SUFFICIENT, CURVATURE = 1e-4, 0.9
TRIALS = 25
LAST_RATE = 0.02


class AdamThenBFGS(torch.optim.Optimizer):
    """Adam for some steps, then BFGS with steps that meet Wolfe's conditions.

    A mean squared residual is badly conditioned: derivatives weigh fine details with the square of their wave number.
    Adam stalls on it; BFGS, which learns the inverse H of the second derivatives from successive gradients,

        H <- (I - s y^T / y^T s) H (I - y s^T / y^T s) + s s^T / y^T s,    s = dx, y = dgradient,

    gains orders of magnitude, on networks small enough to keep H, and in float64, as the differences y need its digits.
    The loss must not change from step to step but at ``refresh``; H is kept then, as it is nearly that of any points.

    Args:
        parameters: P of them in all.
        learning_rate: of Adam, highest; a cosine takes it to a fiftieth at the end of its steps.
        warmup_steps: steps of linear warm-up.
        adam_steps: steps of Adam.

    Raises:
        InputError: more than ``MOST`` parameters, when BFGS begins.

    Source: Nocedal and Wright (2006), Numerical optimization, Chapters 3 and 6; the step by bisection from
    Lewis and Overton (2013), Nonsmooth optimization via quasi-Newton methods, Algorithm 2.6.
    """

    def __init__(
        self, parameters: Iterable[Tensor], *, learning_rate: float, warmup_steps: int = 50, adam_steps: int = 500
    ) -> None:
        super().__init__(parameters, {"lr": learning_rate, "warmup_steps": warmup_steps, "adam_steps": adam_steps})

    @property
    def _own(self) -> list[Tensor]:
        return self.param_groups[0]["params"]

    @property
    def polishing(self) -> bool:
        """Whether BFGS is at work."""
        return self._state().get("steps", 0) >= self.param_groups[0]["adam_steps"]

    def refresh(self) -> None:
        """Forget the loss and its gradient, as they are another function's from now on."""
        self._state().pop("gradient", None)

    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Take one step of whichever method is at work; the closure computes loss and gradients."""
        if closure is None:
            raise InputError("this optimiser evaluates the loss itself: give step a closure.")
        evaluate = torch.enable_grad()(closure)
        state = self._state()
        state.setdefault("steps", 0)
        loss = self._bfgs(evaluate, state) if self.polishing else self._adam(evaluate, state)
        state["steps"] += 1
        return loss

    def _adam(self, evaluate: Callable[[], Any], state: dict[str, Any]) -> Any:
        loss, group, step = evaluate(), self.param_groups[0], state["steps"] + 1
        gradient = self._gradient()
        if "mean" not in state:
            state["mean"], state["square"] = torch.zeros_like(gradient), torch.zeros_like(gradient)
        state["mean"].lerp_(gradient, 1 - DECAY)
        state["square"].lerp_(gradient.square(), 1 - SQUARE_DECAY)
        cosine = 0.5 * (1 + math.cos(math.pi * step / group["adam_steps"]))
        rate = min(1, step / (group["warmup_steps"] + 1)) * (LAST_RATE + (1 - LAST_RATE) * cosine) * group["lr"]
        size = (state["square"] / (1 - SQUARE_DECAY**step)).sqrt() + TINY
        self._set(self._place() - rate / (1 - DECAY**step) * state["mean"] / size)
        return loss

    def _bfgs(self, evaluate: Callable[[], Any], state: dict[str, Any]) -> Any:
        for name in ("mean", "square"):  # Adam is over
            state.pop(name, None)
        place = self._place()
        if len(place) > MOST:
            raise InputError(
                f"BFGS keeps a matrix of {len(place):,} x {len(place):,} numbers: take a smaller "
                "--model.network.width, or Adam alone, with --model.adam_steps as large as the training."
            )
        if "gradient" not in state:
            state["loss"], state["gradient"] = float(evaluate()), self._gradient()
        loss, gradient = state["loss"], state["gradient"]
        if not float(gradient.abs().sum()) > 0:  # at the foot
            return torch.tensor(loss)
        inverse = state.get("inverse")
        direction = -gradient if inverse is None else -(inverse @ gradient)
        slope = float(gradient @ direction)
        if not slope < 0:  # rounding has spoilt the matrix
            state.pop("inverse", None)
            inverse, direction, slope = None, -gradient, -float(gradient @ gradient)
        length = min(1.0, 1 / float(gradient.abs().sum())) if inverse is None else 1.0
        low, high, found = 0.0, math.inf, None
        for _ in range(TRIALS):
            self._set(place + length * direction)
            trial, slant = float(evaluate()), self._gradient()
            if not trial <= loss + SUFFICIENT * length * slope:  # also where it is not a number
                high = length
            else:
                found = (length, trial, slant)
                if float(slant @ direction) >= CURVATURE * slope:
                    break
                low = length
            length = (low + high) / 2 if high < math.inf else 2 * low
        if found is None:
            self._set(place)
            state.pop("inverse", None)  # begin again along the gradient
            return torch.tensor(loss)
        length, state["loss"], state["gradient"] = found
        move = length * direction
        self._set(place + move)
        self._learn(state, move, state["gradient"] - gradient)
        return torch.tensor(state["loss"])

    def _learn(self, state: dict[str, Any], move: Tensor, change: Tensor) -> None:
        """Update the inverse of the second derivatives by what a step told."""
        product = float(move @ change)
        if not product > 1e-12 * float(move.norm() * change.norm()):
            return
        if "inverse" not in state:
            scale = product / float(change @ change)
            state["inverse"] = scale * torch.eye(len(move), dtype=move.dtype, device=move.device)
        inverse = state["inverse"]
        bent = inverse @ change
        inverse.addr_(move, move, alpha=(product + float(change @ bent)) / product**2)
        inverse.addr_(bent, move, alpha=-1 / product).addr_(move, bent, alpha=-1 / product)

    def _state(self) -> dict[str, Any]:
        return self.state[self._own[0]]

    def _place(self) -> Tensor:
        return torch.cat([p.detach().flatten() for p in self._own])

    def _gradient(self) -> Tensor:
        return torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in self._own])

    def _set(self, place: Tensor) -> None:
        with torch.no_grad():
            for p, value in zip(self._own, place.split([p.numel() for p in self._own]), strict=True):
                p.copy_(value.view_as(p))
