"""A polynomial as a vector field."""

from itertools import combinations_with_replacement

import torch
from torch import Tensor, nn

from integrand.core.errors import InputError
from integrand.core.fields.dimensions import check_state, check_widths


class Polynomial(nn.Module):
    """The field f_i(y) = sum_a c_ia (y - origin)^a over all monomials of a degree up to ``degree``.

    Its place on the map: a field; the library of sparse regression, whose terms can be read. Coefficients are
    parameters of their own, one a term and output, so that a fit may give each its own prior and let go of those
    that the data do not ask for.

    Args:
        dim: dimension D of the state.
        degree: highest degree of a monomial, from 1 to 5.
        origin: (D,), where the monomials vanish; 0 when None. Few terms about one origin are many about another.

    Raises:
        InputError: a degree out of range, an origin of another dimension.

    Shapes:
        ``field(t, y)``: t scalar or (B,), not looked at, y (B, D); returns (B, D).

    Example:
        >>> field = Polynomial(3)
        >>> field.terms[:5], field(torch.tensor(0.0), torch.ones(5, 3)).shape
        (['1', 'y1', 'y2', 'y3', 'y1 y1'], torch.Size([5, 3]))

    Source: Brunton, Proctor and Kutz (2016), Discovering governing equations from data by sparse identification of
    nonlinear dynamical systems, Eq. 3.
    """

    origin: Tensor

    def __init__(self, dim: int, degree: int = 2, *, origin: Tensor | None = None) -> None:
        super().__init__()
        check_widths(dim)
        if not 1 <= degree <= 5:
            raise InputError(f"degree={degree} is out of range: from 1 to 5.")
        if origin is not None and origin.shape != (dim,):
            raise InputError(f"origin has shape {tuple(origin.shape)}: it must be ({dim},).")
        self.dim = dim
        self.register_buffer("origin", torch.zeros(dim) if origin is None else origin.clone())
        self.powers = [each for d in range(degree + 1) for each in combinations_with_replacement(range(dim), d)]
        self.terms = [" ".join(f"y{i + 1}" for i in each) or "1" for each in self.powers]
        count = dim * len(self.powers)
        self.coefficients = nn.ParameterList([nn.Parameter(0.01 * torch.randn(())) for _ in range(count)])

    def matrix(self) -> Tensor:
        """Return the coefficients, (D, M), a column for each of M ``terms``."""
        return torch.stack(list(self.coefficients)).view(self.dim, -1)

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        """Evaluate the field."""
        check_state(y, self.dim)
        columns = (y - self.origin).unbind(-1)
        known: dict[tuple[int, ...], Tensor] = {(): torch.ones_like(y[:, 0])}
        for each in self.powers[1:]:
            known[each] = known[each[:-1]] * columns[each[-1]]
        return torch.stack([known[each] for each in self.powers], -1) @ self.matrix().T
