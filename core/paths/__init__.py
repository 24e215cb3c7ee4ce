"""Data as a continuous control: linear, rectilinear, Hermite and natural cubic paths, and their log-signatures."""

from integrand.core.paths.hermite import HermitePath, hermite_coefficients
from integrand.core.paths.knots import Grid, merge_knots
from integrand.core.paths.linear import LinearPath, linear_coefficients
from integrand.core.paths.log_signature import (
    LogSignaturePath,
    log_signature,
    log_signature_dimension,
    log_signatures,
    lyndon_brackets,
    window_edges,
)
from integrand.core.paths.missing import forward_fill, linear_fill
from integrand.core.paths.natural_cubic import NaturalCubicPath, natural_cubic_coefficients
from integrand.core.paths.path import Path, pad_times
from integrand.core.paths.rectilinear import RectilinearPath, rectilinear_coefficients

__all__ = [
    "Grid",
    "HermitePath",
    "LinearPath",
    "LogSignaturePath",
    "NaturalCubicPath",
    "Path",
    "RectilinearPath",
    "forward_fill",
    "hermite_coefficients",
    "linear_coefficients",
    "linear_fill",
    "log_signature",
    "log_signature_dimension",
    "log_signatures",
    "lyndon_brackets",
    "merge_knots",
    "natural_cubic_coefficients",
    "pad_times",
    "rectilinear_coefficients",
    "window_edges",
]
