"""What a coder sees of a model: discretised p(z), p(x|z) and q(z|x), the same bits for the encoder and the decoder."""
