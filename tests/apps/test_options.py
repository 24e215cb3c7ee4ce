"""The options of ``train``: every wrong word gets one line with a cure, and what is printed can be given back."""

from pathlib import Path

import pytest
import yaml

from integrand.apps.cli import main

NETWORK = "model:\n  network:\n    class_path: integrand.apps.timeseries.forecasting.models.ssm_ode.SSMODE\n"


def complaint(words: list[str], runs: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """Carry out words that must fail before anything is made, and return what they print: one line."""
    capsys.readouterr()
    assert main(["train", "timeseries", *words, "--runs", str(runs)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1, err
    assert len(err) <= 400, err
    assert not list(runs.rglob("config.yaml"))
    return err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        # options
        ("--trainer.max_epoch 1", "unknown option '--trainer.max_epoch': did you mean '--trainer.max_epochs'?"),
        ("--trainer.max_ep 1", "unknown option '--trainer.max_ep'"),  # an abbreviation that argparse would take
        ("--data.strid=2", "unknown option '--data.strid': did you mean '--data.stride'?"),
        ("--model.network.widht 3", "did you mean '--model.network.width'?"),
        ("--model.learning_rat 1", "did you mean '--model.learning_rate'?"),
        ("--sed 1", "did you mean '--seed'?"),
        ("--print_confi", "did you mean '--print"),
        ("word", "unexpected argument 'word'"),
        ("--recipe", "option --recipe needs a value"),
        # names
        ("--recipe wether", "unknown recipe of timeseries 'wether': did you mean 'weather'?"),
        ("--recipe missing.yaml", "there is no recipe file 'missing.yaml'"),
        ("--model ssm_od", "unknown model 'ssm_od': did you mean 'ssm_ode'?"),
        ("--model.network SSMOD", "unknown network 'SSMOD': did you mean --model ssm_ode?"),
        ("--model.network nowhere.Net", "No module named 'nowhere'"),
        ("--dataset nyc_wether", "unknown dataset 'nyc_wether': did you mean 'nyc_weather'?"),
        ("--dataset nowhere.csv", "no file at nowhere.csv"),
        ("--data.targets [tmep]", "unknown target channel 'tmep': did you mean 'temp'?"),
        ("--model.network.method rk5", "unknown method 'rk5': did you mean 'rk4'?"),
        ("--model latent_ode --model.network.method dopri_5", "unknown method 'dopri_5': did you mean 'dopri5'?"),
        # types and values
        ("--model.network.width wide", "option --model.network.width: expected a whole number, got wide"),
        ("--model.learning_rate fast", "option --model.learning_rate: expected a number, got fast"),
        ("--data.batch_size 1.5", "option --data.batch_size: expected a whole number, got 1.5"),
        ("--data.drop 0.3", "option --data.drop: expected a list, got 0.3"),
        ("--trainer.max_epochs two", "option --trainer.max_epochs: expected one of a whole number, null, got two"),
        ("--trainer.precision 17", "option --trainer.precision: expected one of 64, 32, 16"),
        ("--trainer.callbacks Foo", "option --trainer.callbacks: expected an importable class"),
        ("--trainer.accelerator gpuu", "invalid accelerator name"),
        ("--trainer.strategy dpp", "invalid strategy name"),
        ("--seed x", "option --seed takes a whole number of at least 0, got 'x'"),
        ("--save-every 0", "option --save-every takes a whole number of at least 1, got '0'"),
        ("--model.ema_decay 2", "model.ema_decay=2.0 is out of range"),
        ("--data.horizon 100000", "shorter than the 100048 h context and horizon together"),
    ],
)
def test_a_wrong_word_gets_one_line(words: str, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert told in complaint(words.split(), tmp_path, capsys)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (NETWORK + "    init_args:\n      width: wide\n", "--model.network.width: expected a whole number, got wide"),
        (NETWORK + "    init_args:\n      widht: 3\n", "did you mean '--model.network.width'?"),
        (NETWORK + "    init_args:\n      method: rk5\n", "unknown method 'rk5': did you mean 'rk4'?"),
        (
            NETWORK + "  learning_rat: 1.0\n",
            "unknown option '--model.learning_rat': did you mean '--model.learning_rate'?",
        ),
        (NETWORK + "data:\n  context: soon\n", "option --data.context: expected a number, got soon"),
        (NETWORK + "trainer:\n  max_epoch: 1\n", "did you mean '--trainer.max_epochs'?"),
        (NETWORK.replace("SSMODE", "SMODE"), "no attribute 'SMODE'"),
        ("modle:\n  learning_rate: 1.0\n" + NETWORK, "unknown option '--modle.learning_rate'"),
        ("model: [1, 2\ntrainer: : :\n", "is not valid YAML"),
        ("just words\n", "is not a YAML mapping"),
        ("", "is not a YAML mapping"),
        (b"\xfc\xe4\xff\x00binary", "is not text"),
    ],
)
def test_a_wrong_recipe_gets_one_line(
    content: str | bytes, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    recipe = tmp_path / "mine.yaml"
    recipe.write_bytes(content.encode() if isinstance(content, str) else content)
    err = complaint(["--recipe", str(recipe)], tmp_path / "runs", capsys)
    assert told in err


def printed(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    assert main(["train", "timeseries", *words]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    return out


def test_the_printed_configuration_can_be_given_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    words = ["--model", "ode_rnn", "--model.network.width", "12", "--trainer.max_epochs", "3", "--seed", "5"]
    text = printed([*words, "--print-config"], capsys)
    config = yaml.safe_load(text)
    assert config["seed_everything"] == config["data"]["seed"] == 5
    network = "integrand.apps.timeseries.forecasting.models.ode_rnn.ODERNNForecaster"
    assert config["model"]["network"]["class_path"] == network
    assert config["model"]["network"]["init_args"]["width"] == 12
    assert config["trainer"]["max_epochs"] == 3
    assert config["trainer"]["gradient_clip_val"] == 1.0  # the recipe's
    recipe = tmp_path / "again.yaml"
    recipe.write_text(text)
    assert printed(["--recipe", str(recipe), "--print-config"], capsys) == text


def test_the_full_help_lists_every_kind_of_option(capsys: pytest.CaptureFixture[str]):
    text = printed(["--help-all"], capsys)
    for option in ("--model.network", "--model.learning_rate", "--data.context", "--trainer.max_epochs"):
        assert option in text
    for option in (
        "--model.network.discretization zoh",
        "--model.network.kl_weight 0.01",
        "--model.network.method rk4",
    ):
        assert option in text  # of the networks, which have options of their own each


def test_the_short_help_names_recipes_models_and_data(capsys: pytest.CaptureFixture[str]):
    text = printed(["--help"], capsys)
    for name in ("weather", "ssm_ode", "latent_ode", "ode_rnn", "nyc_weather", "--resume RUN"):
        assert name in text
