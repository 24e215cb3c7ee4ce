"""Our FNO beside neuraloperator's on the same Darcy flow: ``python benchmarks/darcy.py [--seeds 3]``.

Both are networks of the same module, trained by the recipe ``darcy_neuralop`` on the same samples, images and order of
batches, with the same loss, optimiser and schedule, and scored by their last weights on the 50 test samples, at the 16
points they were trained on and at 32. Width, depth, waves and blocks are the recipe's, and so both are of one size. A
row a resolution goes to ``published/``.
"""

import argparse
import time
from pathlib import Path
from typing import Any

import torch
import yaml
from lightning import Trainer, seed_everything
from rows import PUBLISHED, commit, machine, write_row
from torch import Tensor, nn

import integrand.apps.physics
from integrand.apps.physics.surrogate.baselines import LinearMap
from integrand.apps.physics.surrogate.data import SurrogateData
from integrand.apps.physics.surrogate.evaluation import predictions
from integrand.apps.physics.surrogate.models.fno import FNOSurrogate
from integrand.apps.physics.surrogate.models.surrogate import Surrogate
from integrand.apps.physics.surrogate.module import SurrogateModule
from integrand.core.losses import relative_l2
from integrand.datasets.fields import FieldTask
from integrand.datasets.simulations import Simulations

RECIPE = Path(integrand.apps.physics.__file__).parent / "recipes" / "darcy_neuralop.yaml"
PEER = "neuraloperator FNO"
RATES: dict[str, float] = {}
"""Learning rates other than the recipe's, by network: where another did better on the validation part."""


class PeerFNO(Surrogate):
    """The FNO of neuraloperator with the options of ``FNOSurrogate``."""

    def __init__(
        self, *, modes: int = 8, width: int = 32, depth: int = 4, channel_mlp: float = 0.5, padding: float = 0.0
    ) -> None:
        super().__init__()
        self.save_hyperparameters()

    def build_operator(self, task: FieldTask) -> nn.Module:
        """Return it; 2 m - 1 of its modes are the waves |k| < m."""
        from neuralop.models import FNO  # pyright: ignore[reportMissingImports]

        said = self.hparams
        return FNO(
            n_modes=(2 * said["modes"] - 1,) * task.dims,
            in_channels=task.inputs,
            out_channels=len(task.channels),
            hidden_channels=said["width"],
            n_layers=said["depth"],
            use_channel_mlp=said["channel_mlp"] > 0,
            channel_mlp_expansion=said["channel_mlp"],
            domain_padding=float(said["padding"]),
        )


NETWORKS = {"ours": FNOSurrogate, PEER: PeerFNO}


def main() -> None:
    """Train both from every seed, score them and write the rows."""
    parser = argparse.ArgumentParser(description="Our FNO beside neuraloperator's.", allow_abbrev=False)
    parser.add_argument("--seeds", type=int, default=3, help="how many seeds, from 0 on (3)")
    parser.add_argument("--threads", type=int, default=1, help="threads (1)")
    parser.add_argument("--epochs", type=int, help="another number than the recipe's, to try this script")
    parser.add_argument("--output", type=Path, default=PUBLISHED, help="folder of the rows (benchmarks/published)")
    given = parser.parse_args()
    if given.epochs is not None and given.output.resolve() == PUBLISHED.resolve():
        parser.error("--epochs measures nothing worth publishing: give another folder with --output")
    torch.set_num_threads(given.threads)
    measured_at, seeds = commit(), list(range(given.seeds))
    runs = {name: [train(name, seed, epochs=given.epochs) for seed in seeds] for name in NETWORKS}
    first = runs["ours"][0]
    sizes = {name: each[0]["parameters"] for name, each in runs.items()}
    for points in first["scores"]:
        baselines = {PEER: [run["scores"][points] for run in runs[PEER]]}
        if points == first["trained"]:
            baselines["linear map"] = [first["linear"]] * len(seeds)
        at = "" if points == first["trained"] else f"_at_{points}"
        row = {
            "row": f"darcy_neuralop_relative_l2{at}",
            "command": f"python benchmarks/darcy.py --seeds {given.seeds} --threads {given.threads}"
            + ("" if given.epochs is None else f" --epochs {given.epochs}"),
            "commit": measured_at,
            "machine": machine(given.threads),
            "dataset": "darcy_neuralop",
            "split_hash": first["split_hash"],
            "metric": f"relative_l2{at}",
            "better": "lower",
            "seeds": seeds,
            "ours": [run["scores"][points] for run in runs["ours"]],
            "seconds": [run["seconds"] for run in runs["ours"]],
            "baselines": baselines,
            "published": None,
            "source": None,
            "note": f"FNO of {sizes['ours']:,} real parameters, neuraloperator's of {sizes[PEER]:,}; same waves, width "
            "and depth, samples, images, loss, optimiser and schedule; 900 training samples on 16 x 16 points, 50 test "
            "samples, the last weights" + (", asked at 32 x 32 without further training" if at else ""),
        }
        print(write_row(row, given.output))


def train(name: str, seed: int, *, epochs: int | None = None) -> dict[str, Any]:
    """Train one of ``NETWORKS`` from one seed and score it on the test part, at every resolution."""
    recipe = yaml.safe_load(RECIPE.read_text(encoding="utf-8"))
    options = {key: value for key, value in recipe["model"].items() if key != "network"}
    options["learning_rate"] = RATES.get(name, options["learning_rate"])
    seed_everything(seed)
    data = SurrogateData(**recipe["data"], seed=seed)
    module = SurrogateModule(NETWORKS[name](**recipe["model"]["network"]["init_args"]), **options)
    data.setup()
    module.build(data)
    trainer = Trainer(
        max_epochs=epochs or recipe["trainer"]["max_epochs"],
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
    )
    began = time.perf_counter()
    trainer.fit(module, data)
    seconds = round(time.perf_counter() - began, 1)
    linear = LinearMap(data.task)
    linear.fit(data.windows("train"), data.windows("validation"))
    tests = {points: data.test_at(points) for points in data.resolutions}
    return {
        "scores": {points: _error(predictions(module.network, test), test) for points, test in tests.items()},
        "linear": _error(linear.predict(data.test_at()), data.test_at()),
        "trained": data.task.shape[0],
        "split_hash": data.split.hash,
        "seconds": seconds,
        # Complex parameters count twice.
        "parameters": sum(p.numel() * (2 if p.is_complex() else 1) for p in module.network.parameters()),
    }


def _error(made: Tensor, test: Simulations) -> float:
    return float(relative_l2(made.double(), test.values.double(), dims=2).mean())


if __name__ == "__main__":
    main()
