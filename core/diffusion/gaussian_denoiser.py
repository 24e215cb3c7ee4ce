"""The exact denoiser of normal data, whose components may go together in any way."""

import torch
from torch import Tensor, nn

from integrand.core.diffusion.process import Process, lift
from integrand.core.errors import InputError


class GaussianDenoiser(nn.Module):
    """The mean D(x, t) = E[x_0 | x_t = x] of data that are normal with mean mu and covariance C.

        D = mu + alpha C (alpha^2 C + sigma^2 I)^-1 (x - alpha mu),

    formed along the eigenvectors of C, where it is a factor alpha c / (alpha^2 c + sigma^2) for each eigenvalue c. At
    much noise it is right for any data of that mean and covariance. A network that is added to it has to learn only
    what is not normal: that linear relations hold is known from the first step.

    Args:
        process: the path.
        mean: mu, (D,) for D components in the order of a flattened sample.
        covariance: C, (D, D), symmetric and without negative eigenvalues but for rounding; 0 is allowed.

    Raises:
        InputError: shapes that do not fit together, or a matrix that is no covariance.

    Shapes:
        ``denoiser(t, x)``: t scalar or (B,), x (B, ...) of D components; returns the same.

    Example:
        >>> from integrand.core.diffusion.processes import EDM
        >>> one = GaussianDenoiser(EDM(), torch.tensor([1.0]), torch.tensor([[4.0]]))
        >>> one(torch.tensor(2.0), torch.tensor([[3.0]]))  # as much noise as data: half way from 3 to the mean
        tensor([[2.]])

    Source: Bishop (2006), Pattern recognition and machine learning, Eq. 2.116 and 2.117, with A = alpha I and the noise
    sigma^2 I.
    """

    mean: Tensor
    vectors: Tensor
    variances: Tensor

    def __init__(self, process: Process, mean: Tensor, covariance: Tensor) -> None:
        super().__init__()
        if mean.dim() != 1 or covariance.shape != (len(mean), len(mean)):
            raise InputError(
                f"mean must be (D,) and covariance (D, D), got {tuple(mean.shape)} and {tuple(covariance.shape)}."
            )
        self.process = process
        for name in ("mean", "vectors", "variances"):
            self.register_buffer(name, torch.empty(0))
        self._take(mean, covariance)

    def fit(self, values: Tensor) -> None:
        """Take the mean and the covariance of training values (N, ...), which are divided by N.

        Raises:
            InputError: fewer than two of them.
        """
        if len(values) < 2:
            raise InputError(f"a covariance needs at least 2 samples, got {len(values)}.")
        # Sums over many samples need the digits, which not every device has.
        flat = values.flatten(1).cpu().double()
        centred = flat - flat.mean(0)
        device, dtype = self.mean.device, self.mean.dtype
        self._take(flat.mean(0), centred.T @ centred / len(flat))
        self.to(device=device, dtype=dtype)

    def _take(self, mean: Tensor, covariance: Tensor) -> None:
        wide = covariance.cpu().double()
        scale = float(wide.abs().max())
        if not bool(((wide - wide.T).abs() <= 1e-5 * scale).all()):
            raise InputError("covariance must be symmetric and finite.")
        variances, vectors = torch.linalg.eigh(0.5 * (wide + wide.T))
        if float(variances[0]) < -1e-5 * scale:
            raise InputError(f"covariance has the negative eigenvalue {float(variances[0]):.3g}: it is none.")
        self.mean = mean
        self.vectors, self.variances = vectors.to(mean), variances.clamp_min(0).to(mean)

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        """Return D(x, t)."""
        flat = x.flatten(1)
        alpha, sigma = (lift(each, flat) for each in (self.process.alpha(t), self.process.sigma(t)))
        gains = alpha * self.variances / (alpha.square() * self.variances + sigma.square())
        with torch.autocast(x.device.type, enabled=False):  # products in half precision would cost the digits
            along = (flat - alpha * self.mean) @ self.vectors
            return (self.mean + (gains * along) @ self.vectors.T).view(x.shape)
