"""Each file has one model for training. Importing this package does not import torch."""
