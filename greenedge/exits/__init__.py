"""When to leave: arithmetic on the kept outputs of all exits. Nothing here runs a network."""
