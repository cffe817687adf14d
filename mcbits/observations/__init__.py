"""An observation model reads p(x|z) off a decoder's outputs, alike for training and for coding."""
