"""Networks that impute irregular series."""
