"""A dataset is one fixed division into training and test images, read from disk or downloaded and checked."""

from mcbits.datasets.base import Dataset, DatasetLoader
from mcbits.datasets.binarize import binarize, white

__all__ = ["Dataset", "DatasetLoader", "binarize", "white"]
