"""How options of readers are named in training."""

import re


def as_data_options(text: str) -> str:
    """Name the options of a reader of tables as training has them, not as ``predict`` does.

    Example:
        >>> as_data_options("name it with --time-column")
        'name it with --data.time_column'
    """
    text = re.sub(r"--(time|group|variable|value)-column", r"--data.\1_column", text)
    return text.replace("--duplicates", "--data.duplicates")
