"""Do flows trained on pairs of optimal transport arrive in fewer steps than flows trained on independent pairs?

Eight Gaussians are carried to two moons, as ``benchmarks/transport.py`` does with many more steps of training; sets,
path and distance are those of that file.
"""

import time

import torch
from experiment import Experiment, Outcome
from fitting import Fitted, choose, fit
from torch import nn
from transport import COUPLED_AT_ONCE, PATH, carry, eight_gaussians, moons, squared_wasserstein

from integrand.core.diffusion.couplings import Independent, OptimalTransport
from integrand.core.diffusion.matching import flow_matching_loss
from integrand.core.fields.mlp import MLP

WIDTHS, STEPS, BATCH = (128, 128, 128), 1200, 256
RATES = (1e-3, 3e-3)
POOL = 20 * COUPLED_AT_ONCE
"""Points of either set; both sides take each more than once."""
POINTS, VALIDATED = 2048, 1024
EULER = 4


def run(seed: int, with_: bool, *, steps: int = STEPS) -> Outcome:
    """Train flows on one coupling, take the one that validates best and score it."""
    generator = torch.Generator().manual_seed(seed)
    coupling = OptimalTransport() if with_ else Independent()
    began = time.process_time()
    drawn = [
        coupling(moons(COUPLED_AT_ONCE, generator), eight_gaussians(COUPLED_AT_ONCE, generator))
        for _ in range(POOL // COUPLED_AT_ONCE)
    ]
    data, source = torch.cat([pairs.x0 for pairs in drawn]), torch.cat([pairs.x1 for pairs in drawn])
    coupled = time.process_time() - began

    def train(rate: float) -> Fitted:
        torch.manual_seed(seed)
        field = MLP(2, WIDTHS, activation="gelu", time=True)

        def loss() -> torch.Tensor:
            rows = torch.randint(POOL, (BATCH,), generator=generator)
            # Independent pairs are made anew at no cost; those of a coupling stay together.
            partners = rows if with_ else torch.randint(POOL, (BATCH,), generator=generator)
            t = PATH.draw_times(data[rows], generator=generator)
            return flow_matching_loss(field, data[rows], source[partners], t, PATH).mean()

        return fit(field, loss, steps=steps, rate=rate)

    def score(field: nn.Module, count: int, euler: int, apart: int) -> float:
        own = torch.Generator().manual_seed(apart + seed)
        start, wanted = eight_gaussians(count, own, independent=True), moons(count, own)
        return squared_wasserstein(carry(field, start, {"method": "euler", "step_size": 1 / euler}), wanted)

    chosen = choose(RATES, train, lambda field: score(field, VALIDATED, EULER, 20_000))
    return Outcome(
        error=score(chosen.network, POINTS, EULER, 10_000),
        evaluations=EULER,
        seconds=chosen.seconds + coupled,
        robustness=score(chosen.network, POINTS, 1, 10_000),
    )


EXPERIMENT = Experiment(
    tool="optimal transport coupling",
    problem=f"eight Gaussians carried to two moons by flow matching, {POOL:,} points of each",
    without="independent pairs",
    with_=f"pairs of optimal transport in batches of {COUPLED_AT_ONCE:,}",
    error_of=f"squared Wasserstein distance to the data after {EULER} steps of Euler's method",
    robustness_of="the same after a single step",
    source="Tong, Fatras, Malkin, Huguet, Zhang, Rector-Brooks, Wolf and Bengio (2024), Improving and generalizing "
    "flow-based generative models with minibatch optimal transport",
    run=run,
    note=f"Seconds include those of the coupling. Distances of {POINTS:,} points are exact, and above zero for perfect "
    "samples, too.",
)
