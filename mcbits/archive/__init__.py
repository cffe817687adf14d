"""The .mcb file: what is written is checksummed and decodes to the very images, or reading it is an error."""
