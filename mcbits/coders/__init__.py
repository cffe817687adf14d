"""Each coder has a file named after it. It codes one x in each lane; order, lanes and blocks belong to the archive."""
