"""The Mix Block of AutoMix and SAMix: from the features of two images to a mask for the first."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from greenedge.augment.pairing import MixKind

_REDUCTION = 2  # of channels in what is compared, as in both papers


class MixBlock(nn.Module):
    """Cross-attention between the positions of two images' features.

    AutoMix (Liu et al. 2022, equations 4 to 6): the share k is a channel more of the one image's features and 1 - k of
    the other's; one linear map makes what is compared of both, another what is weighed of the first. The weights begin
    so that a mask is near its share everywhere, as in Mixup: in short trainings nothing else would bring it there.

    SAMix (Li et al. 2021, section 3.2): features z become (1 + c k) z, with a learned c; each side of the comparison
    sees both images; what is weighed comes from two layers. The batch norm between them is left out, so that a mask
    does not depend on the other pairs of a batch; a norm over the pair itself would take the share out of it.

    Args:
        channels: C, of the features.
        kind: which of the two.
    """

    def __init__(self, channels: int, kind: MixKind) -> None:
        super().__init__()
        inner = max(1, channels // _REDUCTION)
        self.kind = kind
        self.strength = nn.Parameter(torch.tensor(0.25)) if kind == "samix" else None
        seen = channels + 1 if kind == "automix" else 2 * channels
        self.compare = nn.Conv2d(seen, inner, 1)
        self.weigh = (
            _beginning_at_the_share(nn.Conv2d(seen, 1, 1))
            if kind == "automix"
            else nn.Sequential(nn.Conv2d(channels, inner, 1), nn.ReLU(), nn.Conv2d(inner, 1, 1))
        )

    def forward(self, first: Tensor, second: Tensor, keep: Tensor) -> Tensor:
        """The mask of the first image, float32 (N, 1, h, w) in (0, 1).

        Args:
            first: features (N, C, h, w).
            second: of the images that they are mixed with, likewise.
            keep: (N,), the share of the first.
        """
        with torch.autocast(first.device.type, enabled=False):  # a softmax over positions needs float32
            first, second = first.float(), second.float()
            share = keep.float().view(-1, 1, 1, 1)
            if self.strength is None:
                weighed = first = _with_channel(first, share)
                second = _with_channel(second, 1 - share)
            else:
                weighed = (1 + self.strength * share) * first
                other = (1 + self.strength * (1 - share)) * second
                first, second = torch.cat([weighed, other], dim=1), torch.cat([other, weighed], dim=1)
            queries, keys = (self.compare(each).flatten(2) for each in (first, second))
            attention = (queries.transpose(1, 2) @ keys / math.sqrt(queries.shape[1])).softmax(dim=-1)
            values = self.weigh(weighed)
            mask: Tensor = attention @ values.flatten(2).transpose(1, 2)
            return mask.transpose(1, 2).view(values.shape).sigmoid()

    def enlarged(self, mask: Tensor, size: tuple[int, int]) -> Tensor:
        """The mask (N, 1, h, w) at the size of the images: by squares for AutoMix, smoothly for SAMix."""
        if self.kind == "automix":
            return F.interpolate(mask, size, mode="nearest")
        # A product of matrices, since a GPU adds up the gradient of torch's own in any order.
        rows, columns = (_interpolation(*each, mask) for each in zip(mask.shape[2:], size, strict=True))
        return rows @ mask @ columns.T


def mask_loss(mask: Tensor, keep: Tensor, margin: float, kind: MixKind) -> Tensor:
    """What holds masks (N, 1, h, w) to their shares (N,), a scalar.

    The mean over the masks of max(0, |mean - share| - margin) (AutoMix, equation 9); for SAMix less the mean of their
    variances, so that a mask which is the same everywhere is not the best one.
    """
    off = ((mask.mean(dim=(1, 2, 3)) - keep).abs() - margin).clamp(min=0).mean()
    return off if kind == "automix" else off - mask.var(dim=(1, 2, 3), correction=0).mean()


def _beginning_at_the_share(weigh: nn.Conv2d) -> nn.Conv2d:
    """Lets the share k, the last channel, enter as 4 k - 2, whose sigmoid touches k at 1/2."""
    assert weigh.bias is not None
    with torch.no_grad():
        weigh.weight[:, -1] = 4.0
        weigh.bias.fill_(-2.0)
    return weigh


def _interpolation(small: int, large: int, like: Tensor) -> Tensor:
    """The matrix (large, small) of linear interpolation along one side."""
    identity = torch.eye(small, dtype=like.dtype, device=like.device).unsqueeze(0)
    return F.interpolate(identity, large, mode="linear", align_corners=False)[0].T


def _with_channel(features: Tensor, share: Tensor) -> Tensor:
    """One channel more, which holds each image's share (N, 1, 1, 1) at every position."""
    return torch.cat([features, share.expand(-1, 1, *features.shape[2:])], dim=1)
