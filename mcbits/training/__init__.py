"""Training is a function of its configuration: killed anywhere and resumed, it ends in the same bits."""
