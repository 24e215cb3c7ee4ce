"""integrand: the network is the integrand.

Differential-equation layers (``integrand.core``), applications that train from one command (``integrand.apps``) and
the data they learn from (``integrand.datasets``). Importing this package imports nothing heavy.
"""

__version__ = "0.1.0"
