"""A latent model is what a coder sees of a model: discretised p(z), p(x|z) and q(z|x), the same bits on both sides."""
