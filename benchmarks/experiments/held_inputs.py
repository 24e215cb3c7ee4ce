"""Should a state space take a sample for a value that was held, or for an impulse, where the rate of sampling changes?

Held inputs enter a state with the length of their gap, impulses with the same weight whatever the gap. Filters of S5
are trained on signals of one mean gap and are tried with it and with another.
"""

from experiment import Experiment, Outcome
from filtered_signals import GAP, STEPS, TRAIN, WIDTH, Filter, learn, scored

from integrand.core.layers import S5

STATES, LAYERS = 32, 2
OTHER = 0.5 * GAP


def run(seed: int, with_: bool, *, steps: int = STEPS) -> Outcome:
    """Train filters of one discretisation and score the one that validates best."""

    def layer() -> S5:
        discretization = "zoh" if with_ else "dirac"
        return S5(WIDTH, d_state=STATES, discretization=discretization, dt_min=0.02, dt_max=0.5, time_scale=GAP)

    chosen = learn(lambda: Filter([layer() for _ in range(LAYERS)]), seed, steps=steps)
    return Outcome(
        error=scored(chosen, seed, GAP), evaluations=1, seconds=chosen.seconds, robustness=scored(chosen, seed, OTHER)
    )


EXPERIMENT = Experiment(
    tool="held inputs",
    problem=f"a driven oscillator's answer to signals sampled at irregular times, {TRAIN} of them",
    without="S5, samples as impulses",
    with_="S5, samples held over the gap before them",
    error_of="root mean square error in units of the answers'",
    robustness_of="the same where signals are sampled twice as often as in training",
    source="Smith, Warrington and Linderman (2023), Simplified state space layers for sequence modeling; impulses: "
    "Schoene et al. (2024), Scalable event-by-event processing of neuromorphic sensory signals with deep state-space "
    "models",
    run=run,
    note="Samples here stand for a continuous signal. Where each is an event of its own, impulses are the right model.",
)
