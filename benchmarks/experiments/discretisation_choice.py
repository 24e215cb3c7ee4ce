"""Is the exact solution of a state space between irregular samples worth more than the trapezoidal rule?

Filters of S4D are trained on signals of one mean gap and are tried with it and with another. The bilinear rule is
exact for slow modes alone: over a long gap it takes a fast mode for one that lives on and changes its sign.
"""

from experiment import Experiment, Outcome
from filtered_signals import GAP, STEPS, TRAIN, WIDTH, Filter, learn, scored

from integrand.core.layers import S4D

STATES, LAYERS = 16, 2
OTHER = 0.5 * GAP


def run(seed: int, with_: bool, *, steps: int = STEPS) -> Outcome:
    """Train filters of one discretisation and score the one that validates best."""

    def layer() -> S4D:
        discretization = "zoh" if with_ else "bilinear"
        return S4D(WIDTH, d_state=STATES, discretization=discretization, dt_min=0.02, dt_max=0.5, time_scale=GAP)

    chosen = learn(lambda: Filter([layer() for _ in range(LAYERS)]), seed, steps=steps)
    return Outcome(
        error=scored(chosen, seed, GAP), evaluations=1, seconds=chosen.seconds, robustness=scored(chosen, seed, OTHER)
    )


EXPERIMENT = Experiment(
    tool="exact discretisation",
    problem=f"a driven oscillator's answer to signals sampled at irregular times, {TRAIN} of them",
    without="S4D, bilinear (trapezoidal) rule",
    with_="S4D, zero-order hold",
    error_of="root mean square error in units of the answers'",
    robustness_of="the same where signals are sampled twice as often as in training",
    source="Gu, Goel, Gupta and Re (2022), On the parameterization and initialization of diagonal state space models, "
    "on discretisation",
    run=run,
    note="Of two rates of learning each side takes the one that validates better.",
)
