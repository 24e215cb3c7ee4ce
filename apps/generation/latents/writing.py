"""What ``likelihood`` writes of latents, and why ``inpaint`` writes nothing."""

from pathlib import Path
from typing import Any

from integrand.apps.generation.densities import likelihood
from integrand.apps.generation.latents.module import LatentModule
from integrand.apps.generation.writing import Notify, read_like, write_csv
from integrand.core.errors import InputError


def write_latent_likelihood(
    module: LatentModule,
    *,
    input: Path,
    output: Path,
    label: str | None = None,
    trace: Any = None,
    notify: Notify,
) -> list[str]:
    """Write the log density of every sample's latent as CSV: it ranks samples, and is none of the samples themselves.

    Returns:
        Lines with the file and the mean.
    """
    values, labels = read_like(input, module.sample_task, label)
    notify(f"the density of the latents of {len(values):,} samples")
    found = likelihood(module, module.encoded(values), labels, trace=trace)
    rows = [["sample", "latent_log_prob"], *([i, float(p)] for i, p in enumerate(found.log_prob))]
    return [
        write_csv(output, rows),
        f"mean log density of the latents: {float(found.log_prob.mean()):.4f} nats a sample",
        "it is a density of latents: it says nothing of what the autoencoder leaves out, and compares with no other",
        f"divergence: {found.trace}",
    ]


def refuse_to_inpaint(module: LatentModule, **given: Any) -> list[str]:
    """Refuse: what is known of a sample is not known of its latent.

    Raises:
        InputError: always.
    """
    raise InputError(
        "a run of latents fills nothing in: each number of a latent depends on the whole sample, so a mask leaves none "
        "of them known. Train on the samples themselves, with --task images or signals."
    )
