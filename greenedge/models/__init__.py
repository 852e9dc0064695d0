"""Networks as lists of named blocks, with exits attached after any of them."""

import torch

from greenedge.errors import InstallationError

try:
    import torchvision as _torchvision  # noqa: F401  # first of all, so that a mismatch is explained
except (RuntimeError, ImportError, AttributeError, OSError) as error:
    raise InstallationError(
        f"torch {torch.__version__} and the installed torchvision do not fit each other ({error}); install the two "
        "together from one source: pip install --force-reinstall torch torchvision"
    ) from error
