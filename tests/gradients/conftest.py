"""Lets the tests of fused gradients import their oracle from beside them, and counts the sweeps they take."""

import sys
from pathlib import Path

import pytest

from integrand.core.numerics.gradients import discrete_adjoint
from integrand.core.numerics.stochastic import discrete_adjoint as sde_discrete_adjoint

sys.path.insert(0, str(Path(__file__).parent))
pytest.register_assert_rewrite("autograd_oracle")


@pytest.fixture
def swept(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One entry a sweep back over a solve, so that a test of the fused gradient cannot pass without it."""
    sweeps: list[int] = []

    def watch(kind: type) -> None:
        run = kind.run
        monkeypatch.setattr(kind, "run", lambda self, *a: (sweeps.append(1), run(self, *a))[1])

    watch(discrete_adjoint._Sweep)
    watch(sde_discrete_adjoint._Sweep)
    return sweeps
