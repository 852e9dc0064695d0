"""One function a command: load the config, build the parts, call them, write the run directory."""
