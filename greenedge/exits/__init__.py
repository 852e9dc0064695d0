"""When images exit: arithmetic on the kept outputs of all exits. Nothing here runs a network."""
