"""The weights of a network of the user's, read as tensors alone."""

import pickle
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from integrand.core.errors import InputError

ENDINGS = (".safetensors", ".pt", ".pth", ".ckpt")


def read_weights(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a file by name; nothing in it is executed.

    Args:
        path: ``.safetensors``, or what ``torch.save(network.state_dict(), path)`` wrote. Of a mapping with a
            ``state_dict`` in it, as Lightning writes them, that is taken.

    Raises:
        InputError: there is no such file, it is damaged, or it holds more than tensors.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "weights.pt"
        >>> torch.save(torch.nn.Linear(1, 2).state_dict(), file)
        >>> sorted(read_weights(file))
        ['bias', 'weight']
    """
    if not path.is_file():
        raise InputError(f"there are no weights {path}: check the path of data.autoencoder_weights.")
    if path.suffix.lower() not in ENDINGS:
        raise InputError(f"{path} is a file of unknown ending: weights are {', '.join(ENDINGS)}.")
    found = _safetensors(path) if path.suffix.lower() == ".safetensors" else pickled_tensors(path)
    if isinstance(found, dict) and isinstance(found.get("state_dict"), dict):
        found = found["state_dict"]
    if not isinstance(found, dict) or not all(isinstance(each, Tensor) for each in found.values()):
        raise InputError(f"{path} holds no mapping of names to tensors: save the network's state_dict().")
    return found


def _safetensors(path: Path) -> Any:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise InputError(f"cannot read {path} ({' '.join(str(error).split())}): save the weights again.") from error


def pickled_tensors(path: Path) -> Any:
    """Return what ``torch.save`` wrote of tensors; nothing in it is executed.

    Raises:
        InputError: the file is damaged, or holds more than tensors.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError) as error:
        raise InputError(f"refused to load {path}: it holds more than tensors, or is damaged.") from error
