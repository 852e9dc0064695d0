"""The command line: arguments only. Commands import their workflow when they run, so that help answers at once."""
