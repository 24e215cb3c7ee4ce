"""The table of diamonds, read out of the wheel that has it: on files laid out the same, and on the published one."""

import hashlib
import os
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from integrand.apps.generation.tabular.data import TableData
from integrand.core.errors import InputError
from integrand.datasets.catalogue import CATALOGUE, find
from integrand.datasets.load_frame import load_frame
from integrand.datasets.real import diamonds

WHEEL = "diamonds/plotnine-0.15.9-py3-none-any.whl"
HEADER = ",".join(f'"{name}"' for name in diamonds.COLUMNS)
STONES = (
    '0.23,"Ideal","E","SI2",61.5,55,326,3.95,3.98,2.43',
    '0.21,"Premium","E","SI1",59.8,61,326,3.89,3.84,2.31',
    '1.07,"Ideal","F","SI2",61.6,56,4954,0,6.62,0',
    '0.31,"Good","J","IF",63.3,58,335,4.34,4.35,2.75',
)
AGAIN = (
    '0.23,"Ideal","E","SI2",61.5,55,326,3.95,3.98,2.43',  # in every cell
    '0.23,"Ideal","E","SI2",61.5,55,402,3.98,3.95,2.43',  # x and y exchanged, and dearer
    '0.23,"Premium","E","SI2",61.5,56,351,3.98,3.95,2.43',  # by another laboratory
)
OTHERS = (
    '0.23,"Ideal","E","SI2",61.5,55,326,3.95,3.99,2.43',  # a hundredth of a millimetre wider
    '0.23,"Ideal","D","SI2",61.5,55,326,3.95,3.98,2.43',  # another colour
    '0.23,"Ideal","E","SI2",61.5,55,326,3.95,2.43,3.98',  # y and z exchanged
)


def place(content: str, folder: Path, monkeypatch: pytest.MonkeyPatch, *, name: str = diamonds.FILE) -> Path:
    """Make a small wheel with a table and let the catalogue expect it."""
    path = folder / WHEEL
    path.parent.mkdir(exist_ok=True)
    with zipfile.ZipFile(path, "w") as files:
        files.writestr(name, content)
    expect(path, monkeypatch)
    monkeypatch.setenv("INTEGRAND_DATA", str(folder))
    return path


def expect(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the catalogue expect a file with these bytes."""
    entry, content = find("diamonds"), path.read_bytes()
    file = replace(entry.files[0], sha256=hashlib.sha256(content).hexdigest(), size=len(content))
    monkeypatch.setitem(CATALOGUE, entry.name, replace(entry, files=(file,)))


def text(*rows: str) -> str:
    return "\n".join([HEADER, *rows]) + "\n"


def test_reader_on_a_file_laid_out_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    place(text(*STONES), tmp_path, monkeypatch)
    frame = diamonds.load()
    assert tuple(frame.columns) == diamonds.COLUMNS
    assert frame["price"].tolist() == [326, 326, 4954, 335]
    assert frame["price"].dtype == np.int64
    assert frame.loc[3, ["carat", "cut", "color", "clarity", "depth"]].tolist() == [0.31, "Good", "J", "IF", 63.3]
    assert frame.loc[2, ["x", "y", "z"]].tolist() == [0, 6.62, 0]  # what was not measured stays as it is


def test_each_stone_stays_once_as_it_is_offered_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    alone = pd.DataFrame([row.replace('"', "").split(",") for row in (*STONES, *OTHERS)])
    place(text(STONES[0], AGAIN[1], *STONES[1:], AGAIN[0], *OTHERS, AGAIN[2]), tmp_path, monkeypatch)
    frame = diamonds.load()
    assert len(frame) == len(alone)
    assert frame["price"].tolist() == alone[6].astype(int).tolist()
    assert frame.index.tolist() == list(range(len(alone)))


@pytest.mark.parametrize("gone", [*range(len(STONES))])
def test_the_order_of_x_and_y_alone_makes_no_other_stone(gone: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    cells = STONES[gone].split(",")
    cells[7], cells[8] = cells[8], cells[7]
    place(text(*STONES, ",".join(cells)), tmp_path, monkeypatch)
    assert len(diamonds.load()) == len(STONES)


def test_the_table_comes_with_its_target_and_orders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Grades are numbers on a line unless an option says otherwise, and the split is at random, for prices are many."""
    rng = np.random.default_rng(0)
    place(text(*_offers(120, rng)), tmp_path, monkeypatch)
    assert load_frame("Diamonds").target == "price"
    data = TableData("diamonds")
    data.setup()
    kinds = {column.name: column.kind for column in data.codec.schema.columns}
    assert [kinds[name] for name in ("cut", "color", "clarity", "price")] == ["ordinal"] * 3 + ["integer"]
    assert data.codec.schema.column("clarity").categories == diamonds.ORDERS["clarity"]
    assert data.target == "price"
    assert data.split.of["dataset"] == "diamonds"
    taken = TableData("diamonds", categorical=["cut"], drop=["color"], ordinal={"clarity": _reversed("clarity")})
    taken.setup()
    assert [column.kind for column in taken.codec.schema.columns][:3] == ["continuous", "categorical", "ordinal"]
    assert taken.codec.schema.column("clarity").categories[0] == "IF"
    assert "color" not in taken.codec.schema.names


def _reversed(name: str) -> list[str]:
    return list(reversed(diamonds.ORDERS[name]))


def _offers(count: int, rng: np.random.Generator) -> list[str]:
    """Rows in which every grade comes, each stone of another width."""
    rows = []
    for i in range(count):
        grades = ",".join(f'"{words[i % len(words)]}"' for words in diamonds.ORDERS.values())
        carat, width = 0.2 + 0.01 * rng.integers(0, 200), 3 + 0.01 * i
        price = int(rng.integers(300, 9000))
        depth, table = 60 + 0.1 * rng.integers(0, 30), rng.integers(53, 65)
        rows.append(
            f"{carat:.2f},{grades},{depth:.1f},{table},{price},{width:.2f},{width + 0.03:.2f},{2 + 0.01 * i:.2f}"
        )
    return rows


@pytest.mark.parametrize(
    ("content", "name", "message"),
    [
        (text(*STONES), "plotnine/data/mpg.csv", "holds no plotnine/data/diamonds.csv that can be read"),
        ("", diamonds.FILE, "holds no plotnine/data/diamonds.csv that can be read"),
        (text(*STONES).replace('"depth"', '"deep"'), diamonds.FILE, r"has the columns .*'deep'.*, not \["),
    ],
    ids=["no such file", "empty", "other columns"],
)
def test_a_wheel_with_another_table_is_refused(
    content: str, name: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    place(content, tmp_path, monkeypatch, name=name)
    with pytest.raises(InputError, match=message) as told:
        diamonds.load()
    assert "run integrand data download diamonds" in str(told.value)
    assert "\n" not in str(told.value)


def test_what_is_no_wheel_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = place(text(*STONES), tmp_path, monkeypatch)
    path.write_bytes(b"this is no archive")
    expect(path, monkeypatch)
    with pytest.raises(InputError, match="run integrand data download diamonds"):
        diamonds.load()


def test_a_wheel_of_another_hash_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Of the right length, and changed in one byte."""
    path = place(text(*STONES), tmp_path, monkeypatch)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"damaged: sha256 .* where .* is right; run 'integrand data download diam"):
        diamonds.load()
    path.write_bytes(bytes(content) + b" ")
    with pytest.raises(InputError, match=r"damaged: .* bytes where .* are right"):
        diamonds.load()


def test_a_missing_file_is_told_with_the_cure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("INTEGRAND_DATA", str(tmp_path))
    with pytest.raises(InputError, match="run 'integrand data download diamonds', or set INTEGRAND_DATA"):
        load_frame("diamonds")


@pytest.fixture
def published() -> pd.DataFrame:
    """All offers of the published file, as plain pandas reads them."""
    path = Path(os.environ.get("INTEGRAND_DATA", ".data")) / WHEEL
    if not path.is_file():
        pytest.skip(f"no {path}: run 'integrand data download diamonds'")
    with zipfile.ZipFile(path) as files, files.open(diamonds.FILE) as stream:
        return pd.read_csv(stream)


def test_the_published_table(published: pd.DataFrame):
    """What the documentation counts, and what ggplot2's help tells: 53,940 rows and the range of each number."""
    frame = diamonds.load()
    assert len(published) == 53_940
    assert len(frame) == 42_827
    assert published.duplicated().sum() == 146
    for name, low, high in (("price", 326, 18_823), ("carat", 0.2, 5.01), ("depth", 43, 79), ("table", 43, 95)):
        assert (published[name].min(), published[name].max()) == (low, high)
    for name, high in (("x", 10.74), ("y", 58.9), ("z", 31.8)):
        assert (published[name].min(), published[name].max()) == (0, high)
    assert int((published[["x", "y", "z"]] == 0).any(axis=1).sum()) == 20
    for name, words in diamonds.ORDERS.items():
        assert set(frame[name]) == set(words)
    assert not frame.isna().any(axis=None)


def test_no_offer_of_a_stone_is_left_beside_another(published: pd.DataFrame):
    """Counted pair by pair: an offer that is gone has the stone's numbers, x and y in either order, and those that stay
    are the earliest of their stone.
    """
    first: dict[tuple, int] = {}
    named = ["carat", "color", "clarity", "depth", "z", "x", "y"]
    for i, row in enumerate(published[named].to_numpy().tolist()):
        first.setdefault((*row[:5], *sorted(row[5:])), i)
    expected = published.iloc[sorted(first.values())].reset_index(drop=True)
    pd.testing.assert_frame_equal(diamonds.load(), expected)
    same = ["carat", "cut", "color", "clarity", "depth", "table", "z"]
    distinct = {(*row[:7], *sorted(row[7:])) for row in published[[*same, "x", "y"]].to_numpy().tolist()}
    assert len(published.drop_duplicates()) - len(distinct) == 6_683
