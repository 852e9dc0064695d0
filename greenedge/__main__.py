"""`python -m greenedge` is the `greenedge` command."""

from greenedge.cli.main import run

if __name__ == "__main__":
    run()
