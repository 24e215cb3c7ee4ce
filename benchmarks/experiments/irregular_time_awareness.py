"""Does a state space gain from solving its equation over the gaps as they are, where it sees the gaps as inputs anyway?

Both filters of S5 see every gap as a second channel. One solves its equation over that time as well, the other over the
mean gap each time, as a recurrent layer without a clock.
"""

from experiment import Experiment, Outcome
from filtered_signals import GAP, STEPS, TRAIN, WIDTH, Filter, learn, scored

from integrand.core.layers import S5

STATES, LAYERS = 32, 2
OTHER = 0.5 * GAP


def run(seed: int, with_: bool, *, steps: int = STEPS) -> Outcome:
    """Train filters of one kind and score the one that validates best."""

    def layer() -> S5:
        return S5(WIDTH, d_state=STATES, dt_min=0.02, dt_max=0.5, time_scale=GAP)

    chosen = learn(lambda: Filter([layer() for _ in range(LAYERS)], told=with_), seed, steps=steps)
    return Outcome(
        error=scored(chosen, seed, GAP), evaluations=1, seconds=chosen.seconds, robustness=scored(chosen, seed, OTHER)
    )


EXPERIMENT = Experiment(
    tool="irregular time awareness",
    problem=f"a driven oscillator's answer to signals sampled at irregular times, {TRAIN} of them",
    without="S5 solved over the mean gap, gaps as a channel",
    with_="S5 solved over the gaps as they are, gaps as a channel, too",
    error_of="root mean square error in units of the answers'",
    robustness_of="the same where signals are sampled twice as often as in training",
    source="Smith, Warrington and Linderman (2023), Simplified state space layers for sequence modeling, on irregular "
    "sampling",
    run=run,
    note="Of two rates of learning each side takes the one that validates better.",
)
