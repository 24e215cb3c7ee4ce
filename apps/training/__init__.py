"""What the applications share: base module, run folders, checkpoints, figures, reports."""
