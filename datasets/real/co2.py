"""Carbon dioxide in the air at Mauna Loa, Hawaii: weekly means of 1958 to 2001 with gaps, in the package.

A rising trend with a yearly cycle: 2,225 weeks from 1958-03-29 to 2001-12-29. Of 2,284 weeks 59 have no value, up to 18
in a row. ``small_series.PROVENANCE.md`` tells where the file comes from.

Source: Keeling and Whorf (2004), Atmospheric CO2 concentrations derived from flask air samples at sites in the SIO
network, Carbon Dioxide Information Analysis Center, Oak Ridge.
"""

from pathlib import Path

from integrand.datasets.tables import Table, read_table

FILE = Path(__file__).with_name("co2.csv.xz")
UNITS = {"co2": "ppm"}  # parts per million of dry air, by volume
TARGETS = tuple(UNITS)


def load() -> Table:
    """Return one series, group ``"all"``, in hours since 1958-03-29; weeks without a value have no row.

    Example:
        >>> (series,) = load().series
        >>> series.values.shape, float(series.times[1])
        ((2225, 1), 168.0)
    """
    return read_table(FILE, time_column="time", channels=TARGETS, duplicates="error")
