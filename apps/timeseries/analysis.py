"""What the instruments are told of probabilistic answers about series: test windows, and what may be disturbed."""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from integrand.apps.analysis.precision import fitted
from integrand.apps.analysis.subject import Disturbed, Subject
from integrand.apps.timeseries.forecasting.data import ForecastingData
from integrand.apps.timeseries.gaussian_module import GaussianModule, by_sample
from integrand.apps.timeseries.imputation.data import ImputationData
from integrand.core.losses import gaussian_crps

WINDOWS = 64
"""Test windows that are asked about, evenly over the test part."""


def subject(module: GaussianModule, data: ForecastingData | ImputationData, *, seed: int) -> Subject:
    """Describe a trained forecaster, or one that fills in what is missing, to the instruments.

    Args:
        module: trained, on the device it is to run on.
        data: its data.
        seed: not used: nothing is drawn.
    """
    test = data.windows("test")
    rows = np.unique(np.linspace(0, len(test) - 1, min(len(test), WINDOWS)).astype(int))
    batch = test.__getitems__(rows.tolist()).to(module.device)

    def ask(asked: GaussianModule) -> Tensor:
        answer = asked(fitted(batch, asked))
        return torch.stack([answer.mean, answer.std], -1)

    def crps(answers: Tensor) -> Tensor:
        assert batch.target is not None
        return gaussian_crps(answers[..., 0], answers[..., 1], batch.target.to(answers))

    def crps_by_sample(answers: Tensor) -> Tensor:
        assert batch.target_mask is not None
        return by_sample(crps(answers), batch.target_mask).mean(-1)

    def disturbed(x: Tensor, *, mask: Tensor, times: Tensor) -> Tensor:
        answer = module(replace(batch, values=torch.where(mask, x, 0), mask=mask, times=times))
        return torch.stack([answer.mean, answer.std], -1)

    return Subject(
        module=module,
        ask=ask,
        answers=f"answers for {len(rows)} test windows",
        time_unit=module.network.built_for.time_unit or "units of time",
        metric="crps",
        score=lambda answers: float(crps(answers)[batch.target_mask].mean()),
        loss=lambda asked: asked.loss(fitted(batch, asked))[0],
        equation="the latent equation",
        disturbed=Disturbed(
            inputs=batch.values,
            mask=batch.mask,
            times=batch.times,
            ask=disturbed,
            loss=crps_by_sample,
            what="the values seen, in standard deviations",
        ),
    )
