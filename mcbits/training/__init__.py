"""Training is a function of its configuration: killed at any point and resumed, it ends in the same bits on a CPU."""
