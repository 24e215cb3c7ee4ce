"""Scoring a diffusion of latents: decoded samples told apart from real ones, beside what the autoencoder allows."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from integrand.apps.generation.baselines import GaussianMixture
from integrand.apps.generation.densities import likelihood
from integrand.apps.generation.evaluation import GenerationEvaluation, likely, sweep
from integrand.apps.generation.latents.data import LatentData, lost_share
from integrand.apps.generation.latents.module import LatentModule
from integrand.apps.generation.metrics.rows import subsample
from integrand.apps.generation.sampling import sampling_options
from integrand.apps.generation.scoring import (
    REAL,
    Array,
    Notify,
    Paired,
    RealSamples,
    draw_watched,
    flat_rows,
    results_of,
)

THROUGH = "real ones, autoencoded"
"""What real samples that were encoded and decoded are called in tables: what no model of these latents can pass."""
MIXTURE = "Gaussian mixture of latents"
UNIT = "latent_nll"


@dataclass(frozen=True)
class LatentEvaluation(GenerationEvaluation):
    """What the figures and the report of latents are drawn from.

    Attributes:
        rebuilt: the test part encoded and decoded, in the units of the data.
    """

    rebuilt: Tensor


def evaluate(
    module: LatentModule,
    data: LatentData,
    *,
    name: str,
    seed: int,
    notify: Notify,
    method: str | None = None,
    steps: int | None = None,
    count: int | None = None,
) -> LatentEvaluation:
    """Score the model, the mixture of Gaussians of the same latents, and the autoencoder itself.

    Samples are compared as they are decoded, with real samples. The row ``THROUGH`` has training samples encoded and
    decoded in their place, those whose own scores are the floor: what it misses of that floor the autoencoder costs. It
    also has ``reconstruction``, which is of the test part. ``latent_nll`` is -log of the density of the test part's
    latents, in nats; it compares models of one autoencoder, and is no likelihood of the samples.

    Args:
        module: the trained module, on the device it is to run on; its own autoencoder is asked, not that of the data.
        data: its data.
        name: the model's name in the tables.
        seed: what the run was seeded with; sample i has the seed 1,000,000 seed + i.
        notify: told what is being done, one line each.
        method, steps: of sampling, the module's own when None.
        count: samples drawn and compared; as many as the test part has, up to ``SCORED``, when None.

    Raises:
        InputError: ``count`` is below ``LEAST``; see ``draw``.
    """
    options = sampling_options(module, method=method, steps=steps)
    real = RealSamples.of(data, count, seed=seed)
    test = data.part("test")
    notify(f"drawing {real.count:,} samples by {options.method} in {options.steps} steps, and decoding them")
    watched = draw_watched(module, real.seeds, options)
    told, nearest = real.tell_apart(watched.drawn, notify)
    notify("encoding and decoding the test part")
    rebuilt = module.through(test.values)
    mixture = _Mixture(module, data, seed, notify)
    density = {name: _density(module, data, seed, notify)}
    density[MIXTURE] = mixture.code_length(test.values[: len(density[name])])
    rows = flat_rows(mixture.sample(real.count))
    metrics: dict[str, dict[str, float]] = {
        name: {UNIT: float(density[name].mean()), **told["metrics"]},
        MIXTURE: {UNIT: float(density[MIXTURE].mean()), **real.compare(rows, floor=False)["metrics"]},
        THROUGH: {**_through(module, real), "reconstruction": _error(rebuilt, test.values)},
        REAL: told["floor"],
    }
    paired = Paired(UNIT, density, "-log of the density of the latents, in nats a sample", "test samples")
    yardsticks = {THROUGH: "is training samples encoded and decoded, what the autoencoder allows"}
    results = results_of(name, metrics, paired, told, watched, data, options, seed=seed, yardsticks=yardsticks)
    swept = sweep(module, options, real.test, seed, notify)
    return LatentEvaluation.of(
        watched,
        data,
        name=name,
        baselines={MIXTURE: rows},
        nearest=nearest,
        bits={},
        swept=swept,
        plane=None,
        results=_with_autoencoder(results, module, test.values, rebuilt),
        rebuilt=rebuilt,
    )


class _Mixture:
    """The mixture of Gaussians of latents in the network's units, chosen by those of the validation part."""

    def __init__(self, module: LatentModule, data: LatentData, seed: int, notify: Notify) -> None:
        notify(f"fitting and scoring the {MIXTURE}")
        self.module, self.seed, self.fitted = module, seed, GaussianMixture()
        train, held = (flat_rows(self._latents(data.part(part).values)) for part in ("train", "validation"))
        self.fitted.fit(train, held, module.network.built_for, seed=seed)

    def sample(self, count: int) -> Tensor:
        """Draw samples in the units of the data."""
        rows = torch.from_numpy(self.fitted.sample(count, seed=self.seed)).float().to(self.module.device)
        z = rows.view(-1, *self.module.network.built_for.shape)
        return self.module.sample_task.restored(self.module.decoded(z)).cpu()

    def code_length(self, values: Tensor) -> Array:
        """Return -log of the density of samples' latents in the autoencoder's units, (N,)."""
        found = self.fitted.log_prob(flat_rows(self._latents(values)), seed=self.seed)
        return self.module.network.built_for.log_scale - found

    def _latents(self, values: Tensor) -> Tensor:
        return self.module.network.built_for.standardized(self.module.encoded(values)).cpu()


def _density(module: LatentModule, data: LatentData, seed: int, notify: Notify) -> Array:
    """Return -log of the density of latents of the test part, or of so much of it as takes no hours, (N,)."""
    test = data.part("test")
    most = likely(module.network.built_for, len(test))
    notify(f"the density of the latents of {most:,} test samples by the probability flow")
    return -likelihood(module, module.encoded(test.values[:most]), test.labels[:most], seed=seed).log_prob.numpy()


def _through(module: LatentModule, real: RealSamples) -> dict[str, float]:
    """Return what the training samples of the floor score once encoded and decoded.

    Their distance to the nearest training sample says nothing, for that is where they come from.
    """
    train, count = real.data.part("train"), min(real.count, len(real.train), len(real.test))
    # As ``evaluate_samples`` draws the rows of its floor, so that the two rows of the table are of the same samples.
    chosen = subsample(torch.arange(len(train)).unsqueeze(1), count, seed=real.seed + 2).squeeze(1)
    rows = flat_rows(module.through(train.values[chosen]))
    labels = train.labels[chosen] if real.classifier is not None else None
    found = real.compare(rows, labels=labels, floor=False)["metrics"]
    return {name: value for name, value in found.items() if name not in ("nearest_ratio", "copies")}


def _error(rebuilt: Tensor, values: Tensor) -> float:
    return float((rebuilt.double() - values.double()).square().mean().sqrt())


def _with_autoencoder(results: dict[str, Any], module: LatentModule, values: Tensor, rebuilt: Tensor) -> dict[str, Any]:
    """Return results that tell of the autoencoder, too."""
    made, task = module.built_autoencoder, module.network.built_for
    error, kept = _error(rebuilt, values), 1 - lost_share(values.double(), rebuilt.double())
    unit = "the data's units" if module.sample_task.levels is None else "grey values"
    remark = (
        f"{made.name} ({made.hash}) encodes {module.sample_task.dims} numbers in {task.dims}; test samples come back "
        f"with an error of {error:.4g} (root mean square, {unit}), {kept:.1%} of their variance: the row '{THROUGH}' "
        "is the floor of every model of these latents."
    )
    about = "root mean square error, per number, of the test part encoded and decoded, in the units of the data"
    return {
        **results,
        "autoencoder": {"class": made.kind, "hash": made.hash, "latents": list(task.shape), "reconstruction": error},
        "better": {**results["better"], "reconstruction": "lower"},
        "about": {**results["about"], "reconstruction": about},
        "remarks": [*results["remarks"], remark],
    }
