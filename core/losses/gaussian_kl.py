"""The Kullback-Leibler divergence of a diagonal Gaussian from the standard one."""

from torch import Tensor


def gaussian_kl(mean: Tensor, std: Tensor) -> Tensor:
    """Return KL(N(mean, diag std^2) || N(0, I)) of each sample, in nats.

        KL = sum_d ( mean_d^2 + std_d^2 - 1 - log std_d^2 ) / 2

    Args:
        mean: (B, D).
        std: (B, D), positive.

    Returns:
        (B,).

    Example:
        >>> import torch
        >>> gaussian_kl(torch.tensor([[1.0, 0.0]]), torch.ones(1, 2)).tolist()
        [0.5]

    Source: Kingma and Welling (2014), Auto-encoding variational Bayes, Appendix B.
    """
    return 0.5 * (mean**2 + std**2 - 1 - 2 * std.log()).sum(-1)
