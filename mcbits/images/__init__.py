"""Images enter and leave mcbits as upright uint8 arrays (n, *shape), and every value comes back unchanged."""

from mcbits.images.formats import as_images, image_format, read_images, write_images

__all__ = ["as_images", "image_format", "read_images", "write_images"]
