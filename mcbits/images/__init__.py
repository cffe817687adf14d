"""Images enter and leave mcbits as upright arrays (n, *shape) of bool, uint8 or uint16, and no value ever changes."""

from mcbits.images.formats import as_images, image_format, read_images, read_pictures, write_images

__all__ = ["as_images", "image_format", "read_images", "read_pictures", "write_images"]
