"""Keeping what Lightning says of its own settings out of the user's sight."""

import logging
import warnings


def quiet() -> None:
    """Silence Lightning's notices and tips; warnings of substance stay."""
    for name in ("lightning.pytorch", "lightning.fabric", "lightning"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for pattern in (
        ".*does not have many workers.*",
        ".*treespec.*is deprecated.*",
        ".*Checkpoint directory .* exists and is not empty.*",
        ".*smaller than the logging interval.*",
        ".*module.s. in eval mode at the start of training.*",  # what is given trained stays as it is
        ".*You defined a `validation_step` but have no `val_dataloader`.*",
        ".*Total length of `list` across ranks is zero.*",  # no validation part, as asked
    ):
        warnings.filterwarnings("ignore", pattern)
    warnings.filterwarnings("ignore", module="lightning.*", category=FutureWarning)
