"""A .mcb file decodes to exactly the images that were compressed, or reading it raises an error."""
