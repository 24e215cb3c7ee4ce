"""Every equation solved as well as it can be, for a reference."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from integrand.core.numerics.solved_by import solved_by

MAX_STEPS = 20_000


@contextmanager
def solved_finely(tolerance: float = 1e-9, refine: int = 32) -> Iterator[None]:
    """Solve what has a method of high order by it, and the rest in shorter steps, with the direct gradient.

    Args:
        tolerance: relative and absolute, of ``dopri8`` for ordinary and controlled equations.
        refine: by how much the steps of semilinear and stochastic equations are shortened.

    Example:
        >>> import torch
        >>> from integrand.core.numerics.solve_ode import solve_ode
        >>> with solved_finely():
        ...     solved = solve_ode(lambda t, y: -y, torch.ones(1, 1, dtype=torch.float64), [0.0, 1.0], method="euler")
        >>> round(solved.states[0, -1, 0].item(), 8)
        0.36787944
    """
    fine: dict[str, Any] = {
        "method": "dopri8",
        "rtol": tolerance,
        "atol": tolerance,
        "step_size": None,
        "gradient": "direct",
    }
    with ExitStack() as blocks:
        # Each kind of solver takes options that others have not.
        ordinary = solved_by(kinds=("ordinary",), engine="native", compile=False, max_steps=MAX_STEPS, **fine)
        blocks.enter_context(ordinary)
        blocks.enter_context(solved_by(kinds=("controlled",), **fine))
        blocks.enter_context(solved_by(kinds=("stochastic",), gradient="direct", refine=refine))
        blocks.enter_context(solved_by(kinds=("semilinear",), refine=refine))
        yield
