"""The compiled ground floor, one subject a module: no Python object and no GIL where symbols are counted."""
