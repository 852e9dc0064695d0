"""greenedge: image classifiers that know when to stop, and what each unit of energy buys."""

__version__ = "0.1.0"
