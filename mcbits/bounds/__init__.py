"""Lower bounds on log p(x), one per file; each is the ideal rate of a coder and an objective for training."""
