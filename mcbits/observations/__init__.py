"""An observation model turns the outputs of a decoder into p(x|z), both for training and for coding."""
