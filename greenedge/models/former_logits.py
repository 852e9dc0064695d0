"""What an exit's head makes of the logits of the exit before it: the cascade connections of Zero Time Waste."""

from __future__ import annotations

from torch import Tensor, nn


class FormerLogits(nn.Module):
    """Adds what the exit before says to a head's logits (ZTW, Wolczyk et al., NeurIPS 2021, section 3.2).

    There the head's last layer reads its features and the normalised logits of the exit before side by side; that is
    the sum of two linear layers, of which this is the second. Its weights begin at 0, so that training begins from the
    head alone. No gradient goes back to the exit before.

    Args:
        num_classes: logits of every exit.
    """

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.norm = nn.LayerNorm(num_classes, elementwise_affine=False)
        self.linear = nn.Linear(num_classes, num_classes, bias=False)
        nn.init.zeros_(self.linear.weight)

    def forward(self, former_logits: Tensor) -> Tensor:
        """(N, classes) of the exit before, to what is added here."""
        added: Tensor = self.linear(self.norm(former_logits.detach()))
        return added
