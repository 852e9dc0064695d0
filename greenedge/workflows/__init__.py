"""One function a command: load the recipe, build the parts, call them, write the run directory."""
