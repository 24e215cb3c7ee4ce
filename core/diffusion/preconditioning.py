"""A denoiser made of a network whose inputs and targets have unit variance at every noise."""

from typing import NamedTuple

from torch import Tensor

from integrand.core.diffusion.process import FARTHEST, Process


class Preconditioning(NamedTuple):
    """The factors of D(x, t) = c_skip x + c_out F(c_in x, c_noise), each of the shape of the times.

    Attributes:
        skip: c_skip.
        out: c_out, also the standard deviation of what F leaves undone; 1 / c_out^2 is the weight that makes the loss
            of D that of F.
        inside: c_in.
        noise: c_noise, a quarter of log(sigma / alpha), which is taken for ``FARTHEST`` at most.
    """

    skip: Tensor
    out: Tensor
    inside: Tensor
    noise: Tensor


def precondition(process: Process, t: Tensor, data_scale: float = 1.0) -> Preconditioning:
    """Return the factors at times of any shape, for data of mean 0 and standard deviation s = ``data_scale``.

    With v = alpha^2 s^2 + sigma^2, the variance of x_t,

        c_skip = alpha s^2 / v,   c_out = sigma s / sqrt(v),   c_in = 1 / sqrt(v),   c_noise = log(sigma / alpha) / 4,

    so that c_in x and the target (x_0 - c_skip x) / c_out have unit variance, and c_out is the least that allows it.
    With alpha = 1 they are those of EDM; with the trigonometric flow and s = 1, F is minus v.

    Example:
        >>> import torch
        >>> from integrand.core.diffusion.processes import EDM
        >>> round(precondition(EDM(), torch.tensor(0.5), data_scale=0.5).skip.item(), 4)
        0.5

    Source: Karras, Aittala, Aila and Laine (2022), Elucidating the design space of diffusion-based generative models,
    Table 1 and Appendix B.6, there with alpha = 1.
    """
    alpha, sigma = process.alpha(t), process.sigma(t)
    variance = alpha.square() * data_scale**2 + sigma.square()
    root = variance.sqrt()
    noise = (sigma.log() - alpha.log()).clamp(-FARTHEST, FARTHEST) / 4
    return Preconditioning(alpha * data_scale**2 / variance, sigma * data_scale / root, 1 / root, noise)
