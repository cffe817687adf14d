"""Images enter and leave mcbits as uint8 of shape (n, *shape), upright, and come back value for value."""

from mcbits.images.formats import as_images, image_format, read_images, write_images

__all__ = ["as_images", "image_format", "read_images", "write_images"]
