"""Eight Gaussians carried to two moons by flows of optimal and of independent pairs: ``benchmarks/transport.py``.

The task of Cheng and Schwing (2025), The curse of conditions, whose code draws its sets as follows, and so do we. The
source is eight normal distributions of variance sqrt(0.1) on a circle of radius 5: of the 0.1 often quoted a root is
taken, and handed over where a covariance is asked for. The data are 3 m - 1, where m lies on two half circles, its
angles in equal steps, and is moved along the diagonal by 0.2 u (1, 1) with one u ~ U(0, 1) for both coordinates; it is
not scikit-learn's ``make_moons``, which adds normal noise.

Of each coupling a flow is trained from every seed: 20,000 steps of Adam at 3e-4 with 256 pairs, which are coupled 1,024
at a time. All that is theirs. Their network is three residual blocks of width 128 with 512 hidden units, 396,000
parameters; ours a perceptron of three layers of 256, a third of them. Ours also are the decay of the rate over the last
fifth, the average of the weights, as many points of the source from each of the eight in a batch to be coupled, and
40,960 coupled pairs in all, each taken more than once, for coupling is what costs most; of independent pairs every one
is new. They were chosen by draws of another seed.

A flow is scored by the squared Wasserstein distance, exact (POT's ``emd2``), between 10,000 points of the source
carried along it and as many of the data, both fresh. Beside it stands what a perfect flow would have: the distance of
as many independent draws of the data, which is where it would carry independent points of the source. A row for each
way of solving goes to ``published/``. With ``--keep`` the scores of each seed are kept in a folder, and seeds found
there are not run again.
"""

import argparse
import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from rows import PUBLISHED, commit, machine, write_row
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from integrand.core.diffusion.couplings import Coupling, Independent, OptimalTransport, squared_distances
from integrand.core.diffusion.interpolants import LinearInterpolant
from integrand.core.diffusion.matching import flow_matching_loss
from integrand.core.fields.mlp import MLP
from integrand.core.numerics.solve_ode import solve_ode

PATH = LinearInterpolant()
COUPLED: dict[str, Coupling] = {"optimal transport": OptimalTransport(), "independent": Independent()}
SOLVES: dict[str, dict[str, Any]] = {
    "euler_1": {"method": "euler", "step_size": 1.0},
    "euler_4": {"method": "euler", "step_size": 0.25},
    "midpoint_2": {"method": "midpoint", "step_size": 0.5},
    "dopri5": {"method": "dopri5", "rtol": 1e-4, "atol": 1e-4},
}
PUBLISHED_MEANS = {
    "euler_1": (0.072, {"optimal": "0.072 +- 0.025", "independent": "6.232 +- 0.186"}),
    "dopri5": (0.050, {"optimal": "0.050 +- 0.040", "independent": "0.120 +- 0.045"}),
}
SOURCE = (
    "Cheng and Schwing (2025), The curse of conditions: analyzing and improving optimal transport for conditional "
    "flow-based generation: means of 10 seeds, with optimal transport {optimal}, with independent pairs {independent}"
)
STEPS, BATCH, RATE, WIDTHS, AVERAGED, DECAYING = 20_000, 256, 3e-4, (256, 256, 256), 0.999, 0.2
COUPLED_AT_ONCE, POOL = 1024, 40_960
POINTS = 10_000


def main() -> None:
    """Train both flows from every seed, score them and write the rows."""
    parser = argparse.ArgumentParser(description="Eight Gaussians to two moons.", allow_abbrev=False)
    parser.add_argument("--seeds", type=int, default=10, help="how many seeds, from 0 on (10)")
    parser.add_argument("--first", type=int, default=0, help="the first seed (0)")
    parser.add_argument("--threads", type=int, default=1, help="threads (1)")
    parser.add_argument("--steps", type=int, default=STEPS, help="another number of steps, to try this script")
    parser.add_argument("--points", type=int, default=POINTS, help="another number of points, to try this script")
    parser.add_argument("--keep", type=Path, help="folder of each seed's scores, to go on from")
    parser.add_argument("--output", type=Path, default=PUBLISHED, help="folder of the rows (benchmarks/published)")
    given = parser.parse_args()
    told = (given.steps, given.points, given.first)
    if told != (STEPS, POINTS, 0) and given.output.resolve() == PUBLISHED.resolve():
        parser.error("other steps, points or seeds are no row to publish: give another folder with --output")
    torch.set_num_threads(given.threads)
    measured_at, seeds = commit(), list(range(given.first, given.first + given.seeds))
    runs = []
    for seed in seeds:
        runs.append(_kept(seed, given, measured_at))
        print(seed, runs[-1], flush=True)
    for solve in SOLVES:
        print(write_row(_row(solve, runs, given, measured_at, seeds), given.output))


def run(seed: int, *, steps: int = STEPS, points: int = POINTS) -> dict[str, Any]:
    """Train a flow of each coupling from one seed and return all their scores, with the floors."""
    flows, seconds = {}, {}
    for name, coupling in COUPLED.items():
        began = time.perf_counter()
        flows[name] = train(coupling, seed, steps=steps)
        seconds[name] = round(time.perf_counter() - began, 1)
    # Seeds of the evaluation lie beyond those of any training.
    generator = torch.Generator().manual_seed(10_000 + seed)
    start, data = eight_gaussians(points, generator, independent=True), moons(points, generator)
    floor = squared_wasserstein(moons(points, generator, independent=True), data)
    scores = {
        solve: {name: squared_wasserstein(carry(flow, start, options), data) for name, flow in flows.items()}
        for solve, options in SOLVES.items()
    }
    return {"scores": scores, "floor": floor, "seconds": seconds}


def train(coupling: Coupling, seed: int, *, steps: int = STEPS) -> nn.Module:
    """Train a flow on pairs of one coupling and return it with the average of its weights."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    count = steps * BATCH if isinstance(coupling, Independent) else POOL
    data, source = _pool(coupling, min(count, steps * BATCH), generator)
    field = MLP(2, WIDTHS, activation="gelu", time=True)
    averaged = AveragedModel(field, multi_avg_fn=get_ema_multi_avg_fn(AVERAGED))
    optimizer = torch.optim.Adam(field.parameters(), lr=RATE, fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, (1 - step / steps) / DECAYING))
    for _ in range(steps):
        rows = torch.randint(len(data), (BATCH,), generator=generator)
        x0, x1 = data[rows], source[rows]
        loss = flow_matching_loss(field, x0, x1, PATH.draw_times(x0, generator=generator), PATH).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        averaged.update_parameters(field)
    return averaged.module


def carry(field: Callable[..., Tensor], start: Tensor, options: dict[str, Any]) -> Tensor:
    """Carry points of the source to the data."""
    with torch.no_grad():
        return solve_ode(field, start, [1.0, 0.0], **options).states[:, -1]


def eight_gaussians(count: int, generator: torch.Generator, *, independent: bool = False) -> Tensor:
    """Draw points of the source, (N, 2): as many of each of the eight, unless independent."""
    which = torch.randint(8, (count,), generator=generator) if independent else torch.arange(count) % 8
    angle = which * (math.pi / 4)
    centre = 5 * torch.stack([angle.cos(), angle.sin()], dim=1)
    return centre + 0.1**0.25 * torch.randn(count, 2, generator=generator)


def moons(count: int, generator: torch.Generator, *, independent: bool = False) -> Tensor:
    """Draw points of the data, (N, 2): half of them on each moon at angles in equal steps, unless independent."""
    half = count // 2
    if independent:
        angle = math.pi * torch.rand(count, generator=generator)
        upper = torch.rand(count, generator=generator) < 0.5
    else:
        angle = torch.cat([torch.linspace(0, math.pi, half), torch.linspace(0, math.pi, count - half)])
        upper = torch.arange(count) < half
    outer = torch.stack([angle.cos(), angle.sin()], dim=1)
    inner = torch.stack([1 - angle.cos(), 0.5 - angle.sin()], dim=1)
    points = torch.where(upper.unsqueeze(1), outer, inner)
    return 3 * (points + 0.2 * torch.rand(count, 1, generator=generator)) - 1


def squared_wasserstein(x: Tensor, y: Tensor) -> float:
    """Return the squared Wasserstein distance of two samples of equal weights, exactly."""
    import ot  # pyright: ignore[reportMissingImports]

    cost = squared_distances(x.double(), y.double()).numpy()
    distance: Any = ot.emd2([], [], cost, numItermax=int(1e8))
    return round(float(distance), 5)


def _kept(seed: int, given: argparse.Namespace, measured_at: str) -> dict[str, Any]:
    """Return the scores of a seed, from the folder where this commit's are kept if they are there."""
    if given.keep is None:
        return run(seed, steps=given.steps, points=given.points)
    path = given.keep / f"{measured_at}_{given.steps}_{given.points}_{seed}.json"
    if not path.exists():
        given.keep.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(run(seed, steps=given.steps, points=given.points)), encoding="utf-8")
    return json.loads(path.read_text(encoding="utf-8"))


def _pool(coupling: Coupling, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw pairs, a coupling for each ``COUPLED_AT_ONCE`` of them."""
    drawn = []
    for _ in range(math.ceil(count / COUPLED_AT_ONCE)):
        data = moons(COUPLED_AT_ONCE, generator)
        drawn.append(coupling(data, eight_gaussians(COUPLED_AT_ONCE, generator), generator=generator))
    return torch.cat([pairs.x0 for pairs in drawn]), torch.cat([pairs.x1 for pairs in drawn])


def _row(
    solve: str, runs: list[dict[str, Any]], given: argparse.Namespace, measured_at: str, seeds: list[int]
) -> dict[str, Any]:
    evaluations = {
        "euler_1": "one step of Euler's",
        "euler_4": "four of Euler's",
        "midpoint_2": "two of the midpoint rule's, four evaluations",
        "dopri5": "dopri5 at 1e-4",
    }
    published = PUBLISHED_MEANS.get(solve)
    return {
        "row": f"eight_gaussians_moons_{solve}",
        "command": f"python benchmarks/transport.py --seeds {given.seeds} --threads {given.threads}"
        + ("" if given.steps == STEPS else f" --steps {given.steps}")
        + ("" if given.points == POINTS else f" --points {given.points}"),
        "commit": measured_at,
        "machine": machine(given.threads),
        "dataset": "eight_gaussians_moons",
        "split_hash": "drawn afresh",
        "metric": f"squared_w2_{solve}",
        "better": "lower",
        "seeds": seeds,
        "ours": [each["scores"][solve]["optimal transport"] for each in runs],
        "seconds": [each["seconds"]["optimal transport"] for each in runs],
        "baselines": {
            "independent pairs": [each["scores"][solve]["independent"] for each in runs],
            "independent true samples": [each["floor"] for each in runs],
        },
        "published": published[0] if published else None,
        "source": SOURCE.format(**published[1]) if published else None,
        "note": f"Solved by {evaluations[solve]}; squared W2 of {given.points:,} points, exact; optimal pairs in "
        f"batches of {COUPLED_AT_ONCE:,}, {POOL:,} pairs in all; the rate decays over the last fifth, weights averaged",
    }


if __name__ == "__main__":
    main()
