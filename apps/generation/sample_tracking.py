"""How good samples are while a model trains: drawn now and then, and compared with the validation part."""

import torch
from lightning import Callback, LightningModule, Trainer

from integrand.apps.generation.data import GenerationData, SamplesOfPart
from integrand.apps.generation.feature_classifier import feature_classifier
from integrand.apps.generation.metrics.evaluation import evaluate_samples
from integrand.apps.generation.metrics.frechet_classifier import FrechetClassifier
from integrand.apps.generation.module import GenerationModule
from integrand.apps.generation.sampling import draw
from integrand.core.errors import InputError

COMPARED = ("energy_distance", "c2st_forest")
LEAST = 10
"""Samples that are worth comparing: a classifier test has five folds of both kinds."""


class SampleTracking(Callback):
    """Draw samples of the averaged weights every few epochs, and log how far they are from the validation part.

    Logged are ``validation/energy_distance``, ``validation/c2st_forest``, the share of samples that a random forest
    tells from real ones, and where there are classes ``validation/fd``, the squared Frechet distance of the features of
    a classifier that has learned them from the training part. Once, ``floor/...`` says what training samples score in
    the place of drawn ones; the report draws it below the curve. The test part is not looked at.

    Samples follow from their seeds, always the same, and the network works in the precision of the training. Training
    itself goes on bit for bit as without it.

    Args:
        every: epochs from one time to the next; it waits for a validation.
        count: samples that are drawn, as many as the validation part has at most.

    Raises:
        InputError: a number out of range; when training starts, data that are tables or have too small a validation
            part.

    Example::

        Trainer(max_epochs=100, callbacks=[SampleTracking(every=10)]).fit(module, GenerationData("digits"))
    """

    def __init__(self, every: int = 1, *, count: int = 1000) -> None:
        for name, value, least in (("every", every, 1), ("count", count, LEAST)):
            if value < least:
                raise InputError(f"SampleTracking's {name}={value!r} is out of range: it must be at least {least}.")
        self.every, self.count = every, count
        self._classifier: FrechetClassifier | None = None
        self._floor: dict[str, float] = {}

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Refuse what cannot be compared, before training starts."""
        data = trainer.datamodule  # pyright: ignore[reportAttributeAccessIssue]
        if not isinstance(data, GenerationData) or not isinstance(pl_module, GenerationModule):
            raise InputError("SampleTracking is for images, points and series: leave it out of trainer.callbacks.")
        held = len(data.part("validation"))
        if held < LEAST:
            raise InputError(
                f"SampleTracking compares with the validation part, which has {held} samples and needs {LEAST}: give "
                "it more with --data.fractions."
            )
        self._classifier, self._floor = None, {}

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw, compare and log; the module still has its averaged weights."""
        if trainer.state.fn != "fit" or trainer.sanity_checking or not self._is_due(trainer):
            return
        assert isinstance(pl_module, GenerationModule)
        # What is made within inference mode could not be trained, as the classifier must be.
        with torch.inference_mode(False):
            scores = self._scores(trainer, pl_module)
        told = {f"validation/{name}": value for name, value in scores.items()}
        pl_module.log_dict(told, logger=False)
        pl_module.write_log(
            {**told, **{f"floor/{name}": each for name, each in self._floor.items()}}, trainer.global_step
        )

    def _is_due(self, trainer: Trainer) -> bool:
        """Whether an epoch divisible by ``every`` has ended since the validation before."""
        done, since = trainer.current_epoch + 1, trainer.check_val_every_n_epoch or 1
        return done // self.every > (done - since) // self.every

    def _scores(self, trainer: Trainer, module: GenerationModule) -> dict[str, float]:
        data: GenerationData = trainer.datamodule  # pyright: ignore[reportAttributeAccessIssue]
        train, held = data.part("train"), data.part("validation")
        count = min(self.count, len(train), len(held))
        if self._classifier is None and data.task.classes:
            self._classifier = feature_classifier(train, held, data.task)
        with trainer.precision_plugin.forward_context():
            drawn = draw(module, range(count))
        told = evaluate_samples(
            drawn.values.flatten(1),
            held.values.flatten(1),
            _some(train, count),
            metrics=[*COMPARED, *(["frechet_classifier"] if self._classifier is not None else [])],
            classifier=self._classifier,
            count=count,
            floor=not self._floor,
        )
        chosen = (*COMPARED, "fd")
        self._floor = self._floor or {name: told["floor"][name] for name in chosen if name in told["floor"]}
        return {name: told["metrics"][name] for name in chosen if name in told["metrics"]}


def _some(part: SamplesOfPart, count: int) -> torch.Tensor:
    """Return some samples of a part as rows, the same ones every time."""
    generator = torch.Generator().manual_seed(0)
    return part.values[torch.randperm(len(part), generator=generator)[:count]].flatten(1)
