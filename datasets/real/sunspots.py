"""Sunspot numbers, yearly means of 1700 to 2008, in the package.

309 years without a gap, in cycles of about 11 years whose height changes slowly. ``small_series.PROVENANCE.md`` tells
where the file comes from.

Source: NOAA, National Geophysical Data Center, https://www.ngdc.noaa.gov/stp/solar/solarda3.html.
"""

from pathlib import Path

from integrand.datasets.tables import Table, read_table

FILE = Path(__file__).with_name("sunspots.csv.xz")
UNITS = {"sunspots": ""}  # a number: ten times the groups of spots, and the spots
TARGETS = tuple(UNITS)


def load() -> Table:
    """Return one series, group ``"all"``; times are years, plain numbers.

    Example:
        >>> (series,) = load().series
        >>> series.times[[0, -1]].tolist(), float(series.values.max())
        ([1700.0, 2008.0], 190.1999969482422)
    """
    return read_table(FILE, time_column="year", channels=TARGETS, duplicates="error")
