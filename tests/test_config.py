"""Configs: precedence, types, and what is said of a mistake."""

import os
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from mcbits.config import CompressConfig, TrainConfig
from mcbits.errors import UnknownNameError, UsageError

CONFIGS = Path(__file__).resolve().parents[1] / "configs"


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_command_line_overrides_file_overrides_default(tmp_path):
    path = write(tmp_path / "c.yml", "epochs: 7\nlr: 1e-2\n")
    config = TrainConfig.load(path, {"epochs": "9"})
    assert (config.epochs, config.lr, config.batch_size) == (9, 0.01, 20)


def test_minus_and_underscore_are_one_key(tmp_path):
    path = write(tmp_path / "c.yml", "batch-size: 7\n")
    assert TrainConfig.load(path).batch_size == 7
    assert TrainConfig.load(path, {"batch_size": 8}).batch_size == 8
    assert CompressConfig.load(path=None, overrides={"num-particles": "5"}).given == {"num_particles": 5}


@pytest.mark.parametrize(
    "key, value, expected",
    [
        ("num_particle", "3", "did you mean num_particles?"),
        ("lr", "fast", "'fast' should be a valid number"),
        ("lr", "inf", "finite"),
        ("epochs", "0", "greater than or equal to 1"),
        ("epochs", "1.5", "integer"),
        ("scheduler", "linear", "'constant', 'multi_step' or 'cosine'"),
        ("binarize", "perhaps", "boolean"),
    ],
)
def test_mistake_is_named_with_its_place_in_one_line(tmp_path, key, value, expected):
    path = write(tmp_path / "c.yml", yaml.safe_dump({key: value}))
    for arguments, place in [((None, {key: value}), "command line"), ((path, {}), str(path))]:
        with pytest.raises(UsageError) as error:
            TrainConfig.load(*arguments)
        message = str(error.value)
        assert key in message
        assert expected in message
        assert place in message
        assert "\n" not in message


@pytest.mark.parametrize("text", ["just words", "a: [1", "- 1\n- 2", "\0"])
def test_file_that_is_no_config_is_a_usage_error_in_one_line(tmp_path, text):
    with pytest.raises(UsageError, match="config file") as error:
        TrainConfig.load(write(tmp_path / "c.yml", text))
    assert "\n" not in str(error.value)


def test_missing_file_is_a_usage_error(tmp_path):
    with pytest.raises(UsageError, match="does not exist"):
        TrainConfig.load(tmp_path / "none.yml")


@given(
    st.fixed_dictionaries(
        {
            "lr": st.floats(1e-12, 1e3),
            "exp_name": st.text("abc=_0123456789", min_size=1),
            "binarize": st.booleans(),
            "latent_dim": st.integers(1, 1000),
        }
    )
)
def test_yaml_of_a_config_loads_as_an_equal_config(tmp_path_factory, values):
    config = TrainConfig(**values)
    path = write(tmp_path_factory.mktemp("config") / "c.yml", config.to_yaml())
    assert TrainConfig.load(path) == config


def test_yaml_of_a_compress_config_keeps_the_options_of_its_coder(tmp_path):
    config = CompressConfig.load(None, {"coder": "bb-is", "num_particles": "7", "lanes": "3"})
    again = CompressConfig.load(write(tmp_path / "c.yml", config.to_yaml()))
    assert again == config and again.options.coder.num_particles == 7


def test_unknown_option_suggests_the_nearest_key_or_coder_option():
    with pytest.raises(UsageError, match="did you mean num_particles?"):
        CompressConfig.load(None, {"coder": "bb-is", "num_partcles": "3"})
    with pytest.raises(UsageError, match="did you mean prop_mprec?"):
        CompressConfig.load(None, {"coder": "bb-is", "prob_mprec": "3"})
    with pytest.raises(UsageError, match="num_particles"):
        CompressConfig.load(None, {"coder": "bb-elbo", "num_particles": "3"})
    with pytest.raises(UsageError, match="coder_options"):
        CompressConfig.load(None, {"coder_options": "3"})


def test_file_may_hold_options_of_other_coders_than_the_chosen(tmp_path):
    path = write(tmp_path / "c.yml", "coder: bb-is\nnum_particles: 50\n")
    assert CompressConfig.load(path, {"coder": "bb-elbo"}).given == {}
    with pytest.raises(UsageError, match=r"no option 'num_partikels'.*did you mean num_particles"):
        CompressConfig.load(write(path, "num_partikels: 50\n"), {"coder": "bb-is"})


def test_coder_option_out_of_range_or_of_wrong_type_is_a_usage_error():
    with pytest.raises(UsageError, match="num_particles.*'many'.*integer"):
        CompressConfig.load(None, {"coder": "bb-is", "num_particles": "many"})
    with pytest.raises(UsageError, match="num_particles.*between 1"):
        CompressConfig.load(None, {"coder": "bb-is", "num_particles": "0"})


def test_unknown_coder_suggests_the_nearest():
    with pytest.raises(UnknownNameError, match="did you mean bb-cis?"):
        CompressConfig.load(None, {"coder": "bb-ciss"})


def test_compressing_takes_its_dataset_from_the_training_unless_told(tmp_path):
    trained = TrainConfig(dataset="digits", split="none", datadir="somewhere", binarize=False)
    path = write(tmp_path / "train_config.yml", trained.to_yaml())
    for given_path in (path, tmp_path):
        config = CompressConfig.load(None, {"train_config": str(given_path), "split": "letters"})
        assert (config.dataset, config.split, config.binarize) == ("digits", "letters", False)
        assert config.datadir == Path("somewhere")


@pytest.mark.parametrize("cls, name", [(TrainConfig, "train"), (CompressConfig, "compress")])
def test_committed_configs_load(cls, name):
    assert cls.load(CONFIGS / f"{name}_bin_emnist.yml", {"seed": "3"}).seed == 3


def test_published_train_configs_serve_as_train_config():
    published = Path(__file__).resolve().parents[1].parent / "shared" / "checkpoints"
    if not published.is_dir():
        pytest.skip("the published checkpoints are not in ../shared/checkpoints")
    for path in published.glob("*/train_config.yml"):
        assert CompressConfig.load(None, {"train_config": str(path)}).dataset == "EMNIST"


@pytest.mark.parametrize("text", ["5", "[a]", "{a: b}", '"a\\0b"', '"\\ud800"', "2020-13-45", "[" * 3000, "1" * 5000])
def test_no_value_of_a_file_is_more_than_a_usage_error_in_one_line(tmp_path, text):
    for cls, key in ((CompressConfig, "train_config"), (CompressConfig, "coder"), (TrainConfig, "dataset")):
        path = write(tmp_path / "c.yml", f"{key}: {text}\n")
        with pytest.raises(UsageError) as error:
            cls.load(path)
            raise UsageError("a name may be any text")  # until it is looked up
        assert "\n" not in str(error.value)


def test_a_path_of_any_bytes_reads_back(tmp_path):
    config = TrainConfig.load(None, {"logdir": os.fsdecode(b"runs-\xff"), "exp_name": "caf\u00e9"})
    assert TrainConfig.load(write(tmp_path / "c.yml", config.to_yaml())) == config


@pytest.mark.parametrize("name", ["../../x", "a/b", "/x", "..", ".", "", "a\\b"])
def test_results_stay_within_logdir(name):
    for cls in (TrainConfig, CompressConfig):
        with pytest.raises(UsageError, match="exp_name.*logdir"):
            cls.load(None, {"exp_name": name})
        if "/" in name:
            with pytest.raises(UsageError, match="exp_name.*logdir"):
                cls.load(None, {"dataset": "digits", "split": name})


def test_an_option_of_other_coders_is_named_with_those_that_have_it():
    with pytest.raises(UsageError, match="^bb-elbo has no num_particles: .*bb-is or bb-cis") as error:
        CompressConfig.load(None, {"coder": "bb-elbo", "num_particles": "5"})
    assert len(str(error.value)) < 120


@pytest.mark.parametrize("text", ["lr: 0.1\nepochs: 3\nlr: 0.2\n", "batch-size: 2\nbatch_size: 3\n"])
def test_a_key_given_twice_is_a_usage_error_that_names_it(tmp_path, text):
    with pytest.raises(UsageError, match="(lr|batch_size) is given twice"):
        TrainConfig.load(write(tmp_path / "c.yml", text))


def test_a_tilde_stands_for_the_home_directory_in_every_path(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "train_config.yml").write_text("dataset: digits\n")
    given = {"logdir": "~/runs", "datadir": "~", "dataset": "~/scans"}
    path = write(tmp_path / "c.yml", yaml.safe_dump(given))
    for config in (TrainConfig.load(path), TrainConfig(**given), CompressConfig.load(None, given)):
        assert (config.logdir, config.datadir) == (tmp_path / "runs", tmp_path)
        assert config.dataset == str(tmp_path / "scans")
    assert CompressConfig.load(None, {"train_config": "~/run"}).train_config == tmp_path / "run"
