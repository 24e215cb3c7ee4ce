"""Networks that name heart beats."""
