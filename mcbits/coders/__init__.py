"""One file per coder, named after it; each codes one symbol x a lane and leaves order, lanes and blocks to others."""
