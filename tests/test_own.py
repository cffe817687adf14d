"""A path is a dataset: its pictures are divided by share and seed, and keep the values that the file holds."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcbits.archive.jobs import compress_file
from mcbits.archive.options import CodingOptions
from mcbits.cli import main
from mcbits.config import CompressConfig, TrainConfig
from mcbits.datasets import binarize
from mcbits.datasets.base import find_dataset
from mcbits.datasets.digits import Digits
from mcbits.datasets.own import OwnPictures
from mcbits.datasets.selection import test_images as images_of
from mcbits.errors import DataError, UnknownNameError, UsageError
from mcbits.images import read_images, write_images


def random(*shape: int, below: int = 256, dtype: Any = np.uint8) -> np.ndarray:
    return np.random.default_rng(0).integers(0, below, shape, dtype)


def saved(path: Path, images: np.ndarray) -> Path:
    write_images(path, images)
    return path


def folder_of_sizes(path: Path) -> Path:
    """Three RGB pictures of three sizes."""
    path.mkdir()
    for i in range(3):
        write_images(path / "one", random(1, 4 + i, 5, 3))
        os.replace(path / "one" / "0.png", path / f"{i}.png")
        (path / "one").rmdir()
    return path


# What is a path


def test_a_registered_name_comes_first_and_a_path_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("digits", "scans"):
        saved(tmp_path / name, random(3, 4, 4))
    assert find_dataset("digits") is Digits and find_dataset("DIGITS") is Digits
    for name in ("scans", "scans/", "./digits", str(tmp_path / "digits")):
        assert len(find_dataset(name).load("", split="").train) == 3


def test_a_name_that_is_neither_is_told_that_it_may_be_a_path() -> None:
    with pytest.raises(UnknownNameError, match="did you mean MNIST.*path of your own pictures"):
        find_dataset("mnits")
    with pytest.raises(DataError, match="No such file"):
        find_dataset("no/where").load("", split="")


# How it is divided


@given(st.integers(1, 60), st.floats(0, 0.999), st.integers(0, 99))
def test_each_picture_is_on_one_side_and_each_side_has_one(
    tmp_path_factory: pytest.TempPathFactory, n: int, share: float, seed: int
) -> None:
    path = tmp_path_factory.mktemp("own") / "a.npy"
    np.save(path, np.arange(n, dtype=np.uint8)[:, None, None] * np.ones((1, 2, 2), np.uint8))
    config = TrainConfig(dataset=str(path), held_out=share, seed=seed)
    dataset = find_dataset(config.dataset).load(config.datadir, split=config.split)
    train, test = ([int(each[0, 0]) for each in part] for part in (dataset.train, dataset.test))
    assert train == sorted(train) and test == sorted(test)
    if share == 0 or n == 1:
        assert train == test == list(range(n))
    else:
        assert sorted(train + test) == list(range(n)) and train and test
        assert abs(len(test) - share * n) <= 1
    again = OwnPictures(path).load(split=config.split)
    np.testing.assert_array_equal(again.test, dataset.test)


def test_another_seed_holds_out_other_pictures(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.npy", random(40, 2, 2))
    first, second = (OwnPictures(path).load(split=f"0.5@{seed}").test for seed in (0, 1))
    assert (first != second).any()


@pytest.mark.parametrize("split", ["0,1@42", "0.1@", "1.5@3", "@", "-0.1@42"])
def test_a_division_that_cannot_be_is_refused(tmp_path: Path, split: str) -> None:
    with pytest.raises(UsageError, match="SHARE@SEED"):
        OwnPictures(saved(tmp_path / "a.npy", random(4, 2, 2))).load(split=split)


def test_no_pictures_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no pictures"):
        OwnPictures(saved(tmp_path / "a.npy", random(0, 2, 2))).load()


def test_what_is_tested_was_not_trained_on_whatever_the_later_seed(tmp_path: Path) -> None:
    pictures = saved(tmp_path / "a.npy", random(30, 4, 4))
    trained = TrainConfig(dataset=str(pictures), seed=7, held_out=0.2, binarize=False)
    (tmp_path / "train_config.yml").write_text(trained.to_yaml())
    later = {"train_config": str(tmp_path), "seed": "3"}
    found = images_of(CompressConfig.load(None, later))
    assert len(found) == 6
    np.testing.assert_array_equal(found, OwnPictures(pictures).load(split=trained.split).test)


# What its values are


@pytest.mark.parametrize(
    "images, levels",
    [
        (random(9, 2, 2, below=2), 1),
        (random(9, 2, 2, below=2).astype(bool), 1),
        (random(9, 2, 2, below=2, dtype=np.uint16), 1),
        (random(9, 2, 2) | 2, 255),
        (random(9, 2, 2, 3), 255),
        (random(9, 2, 2, below=300, dtype=np.uint16), 65535),
    ],
)
def test_white_is_1_only_where_all_is_0_or_1(tmp_path: Path, images: np.ndarray, levels: int) -> None:
    dataset = OwnPictures(saved(tmp_path / "a.npy", images)).load()
    assert dataset.levels == levels
    np.testing.assert_array_equal(dataset.train, images)
    assert dataset.train.dtype == (np.uint8 if images.dtype == bool else images.dtype)


def test_0_and_1_are_what_training_on_them_sees(tmp_path: Path) -> None:
    images = random(9, 4, 4, below=2)
    dataset = OwnPictures(saved(tmp_path / "pngs", images)).load()
    np.testing.assert_array_equal(binarize(dataset.train, dataset.levels, seed=0), images)


def test_pictures_of_several_sizes_are_lists(tmp_path: Path) -> None:
    dataset = OwnPictures(folder_of_sizes(tmp_path / "x")).load(split="0.1@42")
    assert isinstance(dataset.train, list) and isinstance(dataset.test, list)
    assert len(dataset.train) == 2 and len(dataset.test) == 1 and dataset.levels == 255


def test_no_file_is_made_of_several_sizes(tmp_path: Path) -> None:
    config = CompressConfig.load(None, {"dataset": str(folder_of_sizes(tmp_path / "x"))})
    with pytest.raises(DataError, match="several sizes"):
        images_of(config)


# Configs


def test_a_run_on_a_path_is_named_after_it(tmp_path: Path) -> None:
    path = saved(tmp_path / "scans", random(4, 2, 2))
    for dataset in (str(path), f"{path}/"):
        assert TrainConfig(dataset=dataset).exp_name == "train_scans_IWAE_1"
        assert CompressConfig.load(None, {"dataset": dataset}).exp_name == "compress_scans_bb-is"
    assert TrainConfig(dataset="digits").exp_name == "train_digits_mnist_IWAE_1"


def test_a_division_reads_back_and_follows_what_is_given(tmp_path: Path) -> None:
    config = TrainConfig(dataset=f"{tmp_path}/", split="mnist", held_out=0.25, seed=9)
    assert config.split == "0.25@9"
    (tmp_path / "c.yml").write_text(config.to_yaml())
    assert TrainConfig.load(tmp_path / "c.yml") == config
    assert TrainConfig.load(tmp_path / "c.yml", {"held_out": "0"}).split == "0.0@9"


@pytest.mark.parametrize("share", ["-0.1", "1", "nan", "much"])
def test_a_share_is_from_0_up_to_1(share: str) -> None:
    with pytest.raises(UsageError, match="held_out"):
        TrainConfig.load(None, {"dataset": "scans/", "held_out": share})


# The commands


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of twelve 8 x 8 pictures of 1 bit, half of each white."""
    pytest.importorskip("torch")
    rows = np.random.default_rng(1).integers(0, 5, 12)
    images = np.stack([np.roll(np.eye(8, dtype=np.uint8).cumsum(0).astype(np.uint8), row, 1) for row in rows])
    return saved(tmp_path_factory.mktemp("scans") / "scans", images)


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_own_pictures_train_a_model_that_keeps_them(tmp_path: Path, scans: Path, kind: str) -> None:
    images = read_images(scans)
    path = scans if kind == "folder" else saved(tmp_path / "scans.npy", images)
    options = ["--dataset", path, "--epochs", 2, "--latent_dim", 2, "--gpu", -1, "--logdir", tmp_path, "--quiet"]
    run(["train", *options, "--exp_name", "run", "--binarize", "true"])
    run(["compress", path, "-o", tmp_path / "x.mcb", "--model", tmp_path / "run", "--quiet"])
    run(["decompress", tmp_path / "x.mcb", "-o", tmp_path / "back", "--model", tmp_path / "run", "--quiet"])
    np.testing.assert_array_equal(read_images(tmp_path / "back"), images)


def test_training_on_0_and_1_does_not_learn_black(tmp_path: Path, scans: Path) -> None:
    from mcbits.training.loop import train

    config = {"dataset": str(scans), "epochs": 2, "latent_dim": 2, "gpu": -1, "logdir": tmp_path}
    cost = compress_file(
        read_images(scans), tmp_path / "x.mcb", train(TrainConfig(**config)), CodingOptions.of("bb-is")
    )
    assert cost.ideal < 1  # 4.8 bits/dim, if 1 were taken for nearly black


def test_held_out_without_own_pictures_is_said_to_do_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("torch")
    options = ["--dataset", "digits", "--epochs", 1, "--latent_dim", 2, "--gpu", -1, "--logdir", tmp_path]
    run(["train", *options, "--held_out", "0.2", "--batch_size", 500])
    assert "--held_out has no effect" in " ".join("".join(capsys.readouterr()).split())


def run(arguments: list[Any]) -> None:
    with pytest.raises(SystemExit) as end:
        main([str(each) for each in arguments])
    assert not end.value.code
