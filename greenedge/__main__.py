"""`python -m greenedge` is the `greenedge` command."""

from greenedge.cli.start import run

if __name__ == "__main__":
    run()
