"""A user's autoencoder, frozen: its class by name, its options and its weights, checked wherever it is asked.

Dimension letters: B batch.
"""

import hashlib
import importlib
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from integrand.apps.generation.weight_files import read_weights
from integrand.core.errors import InputError, first_line

BATCH = 128
"""Samples encoded or decoded at a time."""
PROMISED = {"encode": "encode(x) -> z", "decode": "decode(z) -> x"}


class Autoencoder(nn.Module):
    """An autoencoder that a user trained: ``encode(x) -> z`` and ``decode(z) -> x`` of a class of theirs.

    It is never trained here: it stays in evaluation, in its own precision, and its parameters want no gradient. Nothing
    is assumed of z but that it is a tensor (B, D), (B, C, L) or (B, C, H, W) of finite real numbers.

    Args:
        kind: the class, as ``package.module.Name`` or ``package.module:Name``, a ``torch.nn.Module``.
        options: arguments of its ``__init__``.

    Raises:
        InputError: it cannot be imported or built, or has not both methods.

    Example:
        >>> kind = "integrand.apps.generation.latents.principal_components.PrincipalComponents"
        >>> made = Autoencoder(kind, {"shape": [4], "components": 2})
        >>> made.fit(torch.tensor([[2.0, 0, 0, 0], [-2, 0, 0, 0], [0, 1, 0, 0], [0, -1, 0, 0]]))
        >>> x = torch.tensor([[2.0, 1.0, 0.0, 0.0]])
        >>> made.encode(x), made.decode(made.encode(x))
        (tensor([[2., 1.]]), tensor([[2., 1., 0., 0.]]))
    """

    def __init__(self, kind: str, options: dict[str, Any] | None = None) -> None:
        super().__init__()
        self.kind, self.options = kind.replace(":", "."), dict(options or {})
        self.network = _made(self.kind, self.options).requires_grad_(False)
        self.eval()

    @property
    def name(self) -> str:
        """The class's own name."""
        return self.kind.rpartition(".")[2]

    @property
    def closed_form(self) -> bool:
        """Whether the class has ``fit(x)``, which takes the place of weights."""
        return callable(getattr(self.network, "fit", None))

    @property
    def hash(self) -> str:
        """Sixteen hexadecimal digits of SHA-256 over its weights."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self.network.state_dict().items()):
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()[:16]

    def train(self, mode: bool = True) -> Self:
        """Stay in evaluation, whatever the module around it does."""
        return super().train(False)

    def load_weights(self, path: Path | str) -> None:
        """Take the weights of a file, read as tensors alone.

        Raises:
            InputError: see ``read_weights``; they are not of this class with these options.
        """
        try:
            self.network.load_state_dict(read_weights(Path(path).expanduser()))
        except RuntimeError as error:
            raise InputError(
                f"the weights {path} do not fit {self.name} with the options {self.options} "
                f"({first_line(error, skip=1)}): name the file that goes with them."
            ) from error

    def fit(self, x: Tensor) -> None:
        """Have a class with ``fit(x)`` find its weights in closed form."""
        with torch.no_grad():
            self.network.fit(x)  # pyright: ignore[reportCallIssue]
        self.network.requires_grad_(False)

    def encode(self, x: Tensor) -> Tensor:
        """Return latents (B, ...) of samples, in batches.

        Raises:
            InputError: it fails, or answers with what is no latent of each.
        """
        z = self._asked("encode", x)
        if z.dim() not in (2, 3, 4) or 0 in z.shape:
            raise InputError(
                f"{self.name}.encode makes latents of shape {tuple(z.shape[1:])} of {tuple(x.shape[1:])}: they must be "
                "(D,), (C, L) or (C, H, W)."
            )
        return z

    def decode(self, z: Tensor) -> Tensor:
        """Return samples (B, ...) of latents, in batches.

        Raises:
            InputError: it fails, or answers with what is no sample of each.
        """
        return self._asked("decode", z)

    def _asked(self, method: str, given: Tensor) -> Tensor:
        like = next((each for each in self.network.state_dict().values() if each.is_floating_point()), None)
        parts = []
        for some in given.split(BATCH):
            asked = some.float() if like is None else some.to(like.device, like.dtype)
            with torch.no_grad(), torch.autocast(asked.device.type, enabled=False):
                parts.append(self._one(method, asked).to(some.device, torch.float32))
        return torch.cat(parts)

    def _one(self, method: str, given: Tensor) -> Tensor:
        try:
            found = getattr(self.network, method)(given)
        except (RuntimeError, TypeError, ValueError, IndexError, AttributeError) as error:
            raise InputError(
                f"{self.name}.{method} fails on a batch of shape {tuple(given.shape)} ({first_line(error)}): is it "
                "made for these data?"
            ) from error
        if not isinstance(found, Tensor) or not found.is_floating_point():
            what = str(found.dtype) if isinstance(found, Tensor) else type(found).__name__
            raise InputError(
                f"{self.name}.{method} answers with {what}, where a tensor of real numbers is wanted: "
                "wrap it in a class whose encode gives the mean, say."
            )
        if len(found) != len(given):
            raise InputError(f"{self.name}.{method} makes {len(found)} of {len(given)}: it must answer one for one.")
        finite = found.isfinite().flatten(1).all(1)
        if not finite.all():
            raise InputError(
                f"{self.name}.{method} gives NaN or infinity for {int((~finite).sum())} of {len(given)}: check its "
                "weights, and the units of what it takes."
            )
        return found


def _made(kind: str, options: dict[str, Any]) -> nn.Module:
    """Build the user's class, which is all that is ever called by name."""
    module, _, name = kind.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name) if module else None
    except (ImportError, AttributeError) as error:
        raise InputError(
            f"the autoencoder {kind!r} cannot be imported ({first_line(error)}): name a class, package.module.Name, "
            "whose folder is on PYTHONPATH."
        ) from error
    if not (isinstance(found, type) and issubclass(found, nn.Module)):
        raise InputError(f"the autoencoder {kind!r} is no torch.nn.Module: name a class of them, package.module.Name.")
    for method, said in PROMISED.items():
        if not callable(getattr(found, method, None)):
            raise InputError(f"the autoencoder {kind!r} has no method {said}: give it one.")
    try:
        return found(**options)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(
            f"the autoencoder {kind!r} cannot be made with the options {options} ({first_line(error)}): correct "
            "data.autoencoder_options."
        ) from error
