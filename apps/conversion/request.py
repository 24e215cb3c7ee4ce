"""What a conversion is asked for."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from integrand.core.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Request:
    """The options of ``integrand convert``.

    Attributes:
        program: the ``.pt2`` file.
        output: the folder to write.
        weights: what the weights are between blocks.
        method: ``"own"``, the network's scheme, or an explicit Runge-Kutta method.
        steps: equal steps a block.
        input: an array of samples; None takes what the network was exported with.
        target: what the network should say of them.
        epochs: passes over the samples in fine-tuning; 0 leaves the weights as they are.
        learning_rate: of fine-tuning.
        batch_size: samples in a batch of fine-tuning.
        held_out: share of the samples that fine-tuning does not see and scores are measured on.
        seed: of the samples held out and their order.

    Raises:
        InputError: values out of range, targets without samples, fine-tuning without targets.
    """

    program: Path
    output: Path
    weights: Literal["constant", "linear"] = "constant"
    method: str = "own"
    steps: int = 1
    input: Path | None = None
    target: Path | None = None
    epochs: int = 0
    learning_rate: float = 1e-3
    batch_size: int = 64
    held_out: float = 0.2
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what cannot be."""
        for option, value, least in (("epochs", self.epochs, 0), ("batch-size", self.batch_size, 1)):
            if value < least:
                raise InputError(f"--{option} must be {least} or more, got {value}.")
        if self.learning_rate <= 0:
            raise InputError(f"--learning-rate must be positive, got {self.learning_rate:g}.")
        if not 0 < self.held_out < 1:
            raise InputError(f"--held-out must be a share between 0 and 1, got {self.held_out:g}.")
        if self.target is not None and self.input is None:
            raise InputError("--target says what the network should give for --input: name that, too.")
        if self.epochs and self.target is None:
            raise InputError("--epochs trains on targets: name them with --target.")
