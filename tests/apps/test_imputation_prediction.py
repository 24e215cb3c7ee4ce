"""``integrand predict`` of imputers: what is observed stays, gaps are filled, spikes are found, mistakes are named.

The network of most tests is small and untrained, so that what it says depends on all it reads; that of the scores is
linear interpolation with a deviation of its own, whose scores are known.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from lightning import Trainer
from matplotlib.image import imread

from integrand.apps.cli import main
from integrand.apps.timeseries.imputation.data import ImputationData
from integrand.apps.timeseries.imputation.models.sequence_imputers import S5Imputer
from integrand.apps.timeseries.imputation.module import ImputationModule
from integrand.apps.timeseries.imputation.prediction import Imputed, impute, predict, with_rows
from integrand.apps.training.files import write_json
from integrand.core.errors import InputError
from integrand.datasets.tables import Series, Table, read_table

NAN = np.nan
EPOCH = pd.to_datetime("2021-05-04", utc=True)


@pytest.fixture(scope="module")
def data(small_csv: Path) -> ImputationData:
    made = ImputationData(str(small_csv), group_column="site", window=24, batch_size=16)
    made.setup()
    return made


def imputer(task: Any, *, straight: bool = False) -> ImputationModule:
    """A small S5; ``straight``: one that answers with the line between neighbours, and a deviation of about 0.22."""
    torch.manual_seed(0)
    network = S5Imputer(width=8, d_state=8, hidden=8, layers=1)
    network.build(task)
    with torch.no_grad():
        if straight:
            network.head.straight.weight.zero_()
            network.head.slope.zero_()
        else:
            for parameter in network.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
    return ImputationModule(network).eval()


@pytest.fixture(scope="module")
def module(data: ImputationData) -> ImputationModule:
    return imputer(data.task)


@pytest.fixture(scope="module")
def run(data: ImputationData, module: ImputationModule, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run whose training data are gone."""
    folder = tmp_path_factory.mktemp("runs") / "1"
    trainer = Trainer(
        max_steps=1,
        limit_val_batches=0,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(ImputationModule(S5Imputer(width=8, d_state=8, hidden=8, layers=1)), data)
    trainer.save_checkpoint(folder / "checkpoints" / "best.ckpt")
    (folder / "config.yaml").write_text("")
    write_json(folder / "environment.json", {"app": "timeseries", "task": "imputation"})
    return folder


@pytest.fixture
def cells(small_csv: Path) -> pd.DataFrame:
    """Sixty hours of the two sites, a quarter of the cells missing."""
    table = pd.read_csv(small_csv).groupby("site").head(60)
    hole = np.random.default_rng(5).random((len(table), 2)) < 0.25
    return table.assign(**{name: table[name].mask(hole[:, k]) for k, name in enumerate(("level", "flow"))})


def predicted(module: ImputationModule, cells: pd.DataFrame | str, folder: Path, **options: Any) -> tuple:
    """Return the imputations, the file they were written to, and the notes."""
    text = cells if isinstance(cells, str) else cells.to_csv(index=False)
    (folder / "in.csv").write_text(text)
    notes: list[str] = []
    options = {"figure": None, "group_column": "site"} | options
    made = predict(module, input=folder / "in.csv", output=folder / "out.csv", notify=notes.append, **options)
    return made, pd.read_csv(folder / "out.csv"), notes


def one_series(times: np.ndarray, values: np.ndarray) -> Table:
    """A series of the module's channels, hours after an epoch."""
    return Table(
        [Series("north", times, values=values.astype(np.float32))],
        ["level", "flow"],
        time_unit="h",
        epoch=EPOCH,
        timezone="UTC",
        time_column="time",
        layout="wide",
        group_column="site",
        notices=[],
    )


# What is written


def test_observed_values_come_back_and_gaps_are_filled(module: ImputationModule, cells: pd.DataFrame, tmp_path: Path):
    made, written, _ = predicted(module, cells, tmp_path, figure=tmp_path / "out.png")
    assert list(written) == ["time", "site", "level", "level_std", "flow", "flow_std"]
    assert (len(written), made.score) == (120, None)
    assert pd.to_datetime(written["time"]).tolist() == pd.to_datetime(cells["time"]).tolist()
    assert written["site"].tolist() == cells["site"].tolist()
    for name in ("level", "flow"):
        seen = cells[name].notna().to_numpy()
        assert 20 < (~seen).sum() < 50
        np.testing.assert_allclose(written.loc[seen, name], cells.loc[seen, name], rtol=1e-6)
        assert (written.loc[seen, f"{name}_std"] == 0).all()
        assert written.loc[~seen, name].notna().all()
        assert (written.loc[~seen, f"{name}_std"] > 0).all()
    assert imread(tmp_path / "out.png").std() > 0.01


def test_a_window_is_answered_as_the_module_does(module: ImputationModule, data: ImputationData, tmp_path: Path):
    """Rows shorter than a window, in the module's own standardised units."""
    test = data.windows("test")
    batch = test[1]
    answer = module(batch)
    start, length = test.cuts.starts[1], int(batch.lengths[0])
    location, scale = np.array(data.task.location), np.array(data.task.scale)
    values = np.where(batch.mask[0], batch.values[0].numpy() * scale + location, NAN)
    stamps = data.table.stamps(start + batch.times[0].double().numpy())
    cells = pd.DataFrame({"time": stamps, "site": batch.group[0], "level": values[:, 0], "flow": values[:, 1]})
    made, _, _ = predicted(module, cells, tmp_path)
    assert length == len(cells)
    hidden = ~batch.mask[0].numpy()
    mean, std = (part[0].detach().double().numpy() for part in (answer.mean, answer.std))
    np.testing.assert_allclose(made.mean[0][hidden], (mean * scale + location)[hidden], rtol=1e-5)
    np.testing.assert_allclose(made.std[0][hidden], (std * scale)[hidden], rtol=1e-5)


def test_wide_and_long_form_are_imputed_alike(module: ImputationModule, cells: pd.DataFrame, tmp_path: Path):
    _, wide, _ = predicted(module, cells, tmp_path)
    long = cells.melt(["time", "site"], ["level", "flow"], "variable", "value")
    _, same, _ = predicted(module, long, tmp_path)
    pd.testing.assert_frame_equal(wide, same)


def test_a_channel_that_the_file_lacks_is_told_from_the_others(
    module: ImputationModule, cells: pd.DataFrame, tmp_path: Path
):
    _, written, notes = predicted(module, cells.drop(columns="flow"), tmp_path, scores=True)
    assert written["flow"].notna().all()
    assert (written["flow_std"] > 0).all()
    assert written["flow_score"].isna().all()
    assert any("missing throughout: flow" in note for note in notes)


def test_strangers_are_noted(module: ImputationModule, cells: pd.DataFrame, tmp_path: Path):
    _, _, notes = predicted(module, cells.assign(site="east"), tmp_path)
    assert any("not trained on: east; they are imputed like an average" in note for note in notes)
    _, _, notes = predicted(module, cells.head(60).drop(columns="site"), tmp_path, group_column=None)
    assert any("no column tells which series this is; the model was trained on north, south" in note for note in notes)


# Rows of one's own


def test_further_rows_are_between_the_first_and_the_last(module: ImputationModule, cells: pd.DataFrame, tmp_path: Path):
    few = cells.groupby("site").head(5)
    _, written, _ = predicted(module, few, tmp_path, every=0.25)
    hours = pd.to_datetime(written["time"]).sub(pd.Timestamp("2020-03-01", tz="UTC")).dt.total_seconds() / 3600
    assert hours.tolist() == [k / 4 for k in range(17)] * 2
    assert written[["level", "flow"]].notna().all(axis=None)
    observed = written.loc[hours % 1 == 0].reset_index(drop=True)
    for name in ("level", "flow"):
        seen = few[name].notna().to_numpy()
        np.testing.assert_allclose(observed.loc[seen, name], few.loc[seen, name], rtol=1e-6)
    assert (written.loc[hours % 1 != 0, ["level_std", "flow_std"]] > 0).all(axis=None)


def test_a_row_that_is_there_is_not_added_again_where_rounding_parts_them():
    times = np.array([0.1, 0.1 + 0.2, 0.5, 0.9, 1.0])
    table = with_rows(one_series(times, np.ones((5, 2))), 0.1)
    np.testing.assert_allclose(table.series[0].times, np.arange(1, 11) / 10)
    assert np.isin(times, table.series[0].times).all()
    assert np.isfinite(table.series[0].values).all(1).sum() == 5


# Long series


def test_rows_deep_in_a_long_series_have_the_answer_of_the_window_they_lie_in(module: ImputationModule):
    """Windows of 24 h start every 12 h; a row is answered by the one it lies in the middle half of, and nothing beyond
    that window is read; the ends are answered by the first and the last."""
    rng = np.random.default_rng(1)
    times = np.arange(0, 100.25, 0.25)  # to 100 h: eight windows
    values = np.where(rng.random((len(times), 2)) < 0.5, NAN, rng.standard_normal((len(times), 2)))
    whole = impute(module, one_series(times, values), scores=True)
    assert whole.score is not None
    for start, low, high in [(0, 0, 18), (12, 18, 30), (48, 54, 66), (84, 90, 101)]:
        own = (times >= start) & (times < start + 24 if start < 84 else True)
        part = one_series(times[own] - start, values[own])
        cut = impute(module, replace(part, epoch=EPOCH + pd.to_timedelta(start, unit="h")), scores=True)
        assert cut.score is not None
        answered = (times[own] >= low) & (times[own] < high)
        there = (times >= low) & (times < high)
        for name in ("mean", "std", "score"):
            ours, theirs = getattr(whole, name)[0][there], getattr(cut, name)[0][answered]
            np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


def test_long_gaps_and_many_series_leave_no_row_out(module: ImputationModule):
    rng = np.random.default_rng(2)
    series = []
    for k in range(70):
        times = np.unique(np.round(rng.uniform(0, 200, rng.integers(1, 12)), 2))
        series.append(Series(f"s{k}", times, values=rng.standard_normal((len(times), 2)).astype(np.float32)))
        series[-1].values[rng.random((len(times), 2)) < 0.5] = NAN
    made = impute(module, replace(one_series(np.zeros(1), np.ones((1, 2))), series=series), scores=True)
    assert made.score is not None
    for one, mean, std, score in zip(series, made.mean, made.std, made.score, strict=True):
        seen = np.isfinite(one.values)
        assert np.isfinite(mean).all()
        assert ((std == 0) == seen).all()
        assert (np.isfinite(score) == seen).all()


# Scores


def test_scores_are_how_many_deviations_a_value_misses_the_others_by(data: ImputationData):
    """Of a straight line between neighbours: 0 on a ramp, and the height of a spike over the deviation."""
    module = imputer(data.task, straight=True)
    times, spike = np.arange(20.0), 9
    ramp = np.stack([5 + 0.1 * times, 1 - 0.2 * times], axis=1)
    ramp[spike, 0] += 4
    made = impute(module, one_series(times, ramp), scores=True)
    assert made.score is not None
    deviation = float(torch.nn.functional.softplus(torch.tensor(-1.5))) + 0.02  # in standardised units
    scores = made.score[0] * deviation * np.array(data.task.scale)
    assert scores[spike, 0] == pytest.approx(4, rel=1e-5)
    np.testing.assert_allclose(scores[1:-1, 1], 0, atol=1e-5)  # the ends have a neighbour on one side
    assert (scores[[0, -1], 1] > 0.19).all()
    others = np.delete(scores[1:-1, 0], spike - 1)
    # A spike's neighbours, when hidden, are told from it: half of it, and no more, is their error.
    assert others.max() <= 4 / 2 + 1e-5
    assert int((others > 1e-4).sum()) <= 2
    assert scores[:, 0].argmax() == spike


def test_scores_of_a_file_and_the_picture_ring_the_spike(data: ImputationData, cells: pd.DataFrame, tmp_path: Path):
    row = cells.index[cells["level"].notna() & (cells["site"] == "south")][17]
    cells.loc[row, "level"] += 20
    made, written, _ = predicted(
        imputer(data.task, straight=True), cells, tmp_path, scores=True, figure=tmp_path / "odd.png"
    )
    assert isinstance(made, Imputed)
    assert list(written)[2:] == [f"{name}{what}" for name in ("level", "flow") for what in ("", "_std", "_score")]
    assert (written["level_score"].notna().to_numpy() == cells["level"].notna().to_numpy()).all()
    place = written["level_score"].idxmax()
    assert (written.loc[place, "site"], written.loc[place, "level_score"] > 50) == ("south", True)
    assert written.loc[place, "level"] == pytest.approx(cells.loc[row, "level"], rel=1e-6)
    plain = written.drop(columns=["level_score", "flow_score"])
    _, without, _ = predicted(imputer(data.task, straight=True), cells, tmp_path, figure=tmp_path / "plain.png")
    pd.testing.assert_frame_equal(plain, without)
    red = [((p := imread(tmp_path / f"{name}.png"))[..., 0] - p[..., 2] > 0.4).sum() for name in ("odd", "plain")]
    assert red[0] > 50
    assert red[1] == 0


# The command


def test_the_command_names_its_files(run: Path, cells: pd.DataFrame, tmp_path: Path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    cells.to_csv("gaps.csv", index=False)
    words = ["predict", str(run), "--input", "gaps.csv", "--group-column", "site", "--accelerator", "cpu"]
    assert main([*words, "--scores"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out == ["imputations: gaps_imputation.csv", "picture:     gaps_imputation.png"]
    assert "level_score" in pd.read_csv("gaps_imputation.csv")
    assert main([*words, "--every", "0.5"]) == 0
    assert len(pd.read_csv("gaps_imputation.csv")) == 2 * 119


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--stream",), "--stream is not for imputation: name a file with --input."),
        (("--input", "in.csv", "--horizon", "3"), "option --horizon is not for imputation"),
        (("--input", "in.csv", "--at", "3"), "option --at is not for imputation"),
        (("--input", "in.csv", "--queries", "in.csv"), "option --queries is not for imputation"),
        (("--input", "in.csv", "--figure", "in.jpg"), "must end in .png, .pdf or .svg"),
        (("--input", "in.csv", "--output", "in.csv"), "is the file of --input too"),
        (("--input", "in.csv", "--every", "0"), "--every 0 is out of range"),
        (("--input", "in.csv", "--every", "1e-9"), "less than a million rows"),
    ],
)
def test_options_that_imputation_does_not_take(
    run: Path, cells: pd.DataFrame, tmp_path: Path, words, told: str, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    cells.to_csv("in.csv", index=False)
    assert main(["predict", str(run), "--accelerator", "cpu", *words]) == 2
    assert told in capsys.readouterr().err.splitlines()[-1]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.csv"]


def test_scores_are_not_for_forecasts(weather_run: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["predict", str(weather_run), "--input", "a.csv", "--scores"]) == 2
    assert capsys.readouterr().err == "error: option --scores is not for forecasting: leave it out.\n"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "time,site,height\n2020-03-01,north,1\n",
            "no value of the channels the run was trained on, level, flow",
        ),
        ("time,site,level,flow\n2020-03-01,north,,\n", "holds no value of the channels"),
        ("time,site,level\n5,north,1\n6,north,2\n", "holds plain numbers, and the model was trained on dates"),
        ("time,site,level\n2020-03-01,north,high\n", "row 2 has 'high' in column 'level'"),
        ("time,site,level\n", "header but no rows"),
        ("", "is empty"),
    ],
)
def test_files_that_are_refused(module: ImputationModule, tmp_path: Path, text: str, told: str):
    with pytest.raises(InputError) as caught:
        predicted(module, text, tmp_path)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out.csv").exists()


def test_the_table_given_is_left_as_it_is(module: ImputationModule, small_csv: Path):
    table = read_table(small_csv, group_column="site")
    before = [series.values.copy() for series in table.series]
    impute(module, table)
    for series, values in zip(table.series, before, strict=True):
        np.testing.assert_array_equal(series.values, values)
