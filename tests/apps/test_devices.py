"""A training step stays on the device: shown without one by a device of fake tensors, and measured where one exists."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning import Trainer

from integrand.apps.application import load
from integrand.apps.timeseries import APPLICATION
from integrand.apps.timeseries.forecasting.data import ForecastingData
from integrand.apps.timeseries.forecasting.module import ForecastingModule

MODELS = APPLICATION.task("forecasting").models
# ``solve_cde`` reads from the device how long its grid of knots is, once a solve; the others read nothing.
NEVER_WAITING = [name for name in MODELS if name not in ("neural_cde", "neural_rde", "log_ncde")]
PROBE = Path(__file__).with_name("device_probe.py")
MISTAKES = {
    "makes_host_tensor": "aten.zeros.default (",
    "copies_list": "fills memory from the host",
    "reads_value": "reads a value",
    "selects_by_mask": "reads a value",
}


@pytest.fixture(scope="module")
def probed() -> dict[str, Any]:
    command = [sys.executable, str(PROBE), *NEVER_WAITING, *MISTAKES]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("model", NEVER_WAITING)
def test_a_training_step_makes_no_host_tensor_and_reads_no_value(probed: dict[str, Any], model: str):
    assert probed[model]["error"] is None
    assert probed[model]["on_host"] == []
    few = 50 if model == "dlinear" else 500  # two products and a grid
    assert probed[model]["operations"] > few  # forward and backward were both seen


@pytest.mark.parametrize("mistake", MISTAKES)
def test_the_probe_catches_a_deliberate_mistake(probed: dict[str, Any], mistake: str):
    told = [*probed[mistake]["on_host"], probed[mistake]["error"] or ""]
    assert any(MISTAKES[mistake] in line for line in told), told


def _train(small_csv: Path, model: str, accelerator: str) -> list[float]:
    torch.manual_seed(0)
    # No dropout, whose draws differ between devices.
    options = {"width": 8, "d_state": 8, "hidden": 8, "latent": 8}
    options |= {} if model == "latent_ode" else {"dropout": 0.0}
    options |= {"input_dropout": 0.0} if model == "ssm_ode" else {}
    network = load(MODELS[model])(**options)
    data = ForecastingData(str(small_csv), context=24, horizon=12, batch_size=16)
    data.setup()
    network.build(data.task)
    module = ForecastingModule(network, ema_decay=0.0, warmup_steps=0)
    losses: list[float] = []
    step = module.training_step

    def recorded(batch: Any, batch_idx: int) -> torch.Tensor:
        loss = step(batch, batch_idx)
        losses.append(float(loss))
        return loss

    module.training_step = recorded
    Trainer(
        accelerator=accelerator,
        devices=1,
        max_steps=2,
        limit_val_batches=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    ).fit(module, data)
    return losses


@pytest.mark.gpu
@pytest.mark.skipif(not torch.accelerator.is_available(), reason="no accelerator")
@pytest.mark.parametrize("model", ["ssm_ode", "ode_rnn"])
def test_the_accelerator_gives_the_losses_of_the_cpu(small_csv: Path, model: str):
    # float32 sums in another order; TF32 products, where torch is allowed them, round to 10 bits, 1e-3.
    there, here = _train(small_csv, model, "auto"), _train(small_csv, model, "cpu")
    assert len(there) == 2
    np.testing.assert_allclose(there, here, rtol=2e-3)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.accelerator.is_available(), reason="no accelerator")
def test_the_latent_ode_trains_on_the_accelerator(small_csv: Path):
    # It draws its path on the device, so the loss is another draw of the same: only finite.
    assert np.isfinite(_train(small_csv, "latent_ode", "auto")).all()
