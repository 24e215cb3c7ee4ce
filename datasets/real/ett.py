"""Electricity transformer temperatures (ETT): hourly loads and oil temperature of a transformer, with a download.

Source: Zhou et al. (2021), Informer: Beyond Efficient Transformer for Long Sequence Time-Series Forecasting, AAAI;
https://github.com/zhouhaoyi/ETDataset, CC BY-ND 4.0.
"""

from integrand.core.errors import unknown
from integrand.datasets.download import locate
from integrand.datasets.tables import Table, read_table

CHANNELS = ("HUFL", "HULL", "MUFL", "MULL", "LUFL", "LULL", "OT")
UNITS = dict.fromkeys(CHANNELS, "")  # the publisher names none: six loads and, as OT, the oil temperature in degC
UNITS["OT"] = "degC"
TARGETS = CHANNELS
SPLIT_ROWS = (12 * 30 * 24, 4 * 30 * 24, 4 * 30 * 24)  # training, validation, test; the 3,020 rows after them unused
NAMES = {"ETTh1": "etth1"}  # publisher's name: the catalogue's


def load(name: str = "ETTh1") -> Table:
    """Return one series, group ``"all"``, of 17,420 hours and 7 channels since 2016-07-01 00:00, local time.

    Raises:
        InputError: ``name`` is not known, or its file is missing or damaged; the message tells how to get it.
    """
    by_lower = {known.lower(): entry for known, entry in NAMES.items()}
    if name.lower() not in by_lower:
        raise unknown("ETT series", name, NAMES)
    (path,) = locate(by_lower[name.lower()])
    return read_table(path, time_column="date", channels=CHANNELS, duplicates="error")
