"""torchvision, or an explanation of why it does not work; imported only by what needs it, as it takes a second."""

import torch

from greenedge.errors import InstallationError

try:
    import torchvision
except (RuntimeError, ImportError, AttributeError, OSError) as error:
    raise InstallationError(
        f"torch {torch.__version__} and the installed torchvision do not fit each other ({error}); install the two "
        "together from one source: pip install --force-reinstall torch torchvision"
    ) from error

__all__ = ["torchvision"]
