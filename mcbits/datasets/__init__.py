"""Images enter and leave mcbits as uint8 of shape (n, *shape), upright, and come back value for value."""

from mcbits.datasets.base import Dataset, DatasetLoader
from mcbits.datasets.binarize import binarize
from mcbits.datasets.images import as_images, image_format, read_images, write_images

__all__ = ["Dataset", "DatasetLoader", "as_images", "binarize", "image_format", "read_images", "write_images"]
