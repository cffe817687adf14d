"""Each file has one lower bound on log p(x). Its negative is the ideal rate of a coder and a loss for training."""
