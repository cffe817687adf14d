"""Networks for training, one file each; importing this package imports no torch."""
