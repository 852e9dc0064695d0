"""Vision transformers of timm in named blocks, which hand on tokens as a map that is one token wide.

N tokens of D numbers are (B, D, N, 1): with the channels last in memory that is the very (B, N, D) which transformers
compute in, so that nothing is moved, and all that reads features (heads, kept features, cuts of an export) finds four
dimensions.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn

from greenedge.errors import ConfigError
from greenedge.models.family import Blocks


class TokenStem(nn.Module):
    """From images to tokens: patches, the class token and registers before them, positions, and the norm after that.

    Args:
        net: timm's `VisionTransformer`.
    """

    def __init__(self, net: Any) -> None:
        super().__init__()
        self.patch_embed, self.pos_drop, self.norm_pre = net.patch_embed, net.pos_drop, net.norm_pre
        self.cls_token, self.reg_token, self.pos_embed = net.cls_token, net.reg_token, net.pos_embed
        self.positions_before_prefix = net.no_embed_class

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, S, S) to (B, D, N, 1)."""
        patches: Tensor = self.patch_embed(images)
        count = images.shape[0]  # not len(), which an exporter takes for a constant
        prefix = [each.expand(count, -1, -1) for each in (self.cls_token, self.reg_token) if each is not None]
        if self.positions_before_prefix and self.pos_embed is not None:
            patches = patches + self.pos_embed
        tokens = torch.cat([*prefix, patches], dim=1) if prefix else patches
        if not self.positions_before_prefix and self.pos_embed is not None:
            tokens = tokens + self.pos_embed
        return tokens_to_features(self.norm_pre(self.pos_drop(tokens)))


class TokenBlock(nn.Module):
    """A transformer block between features.

    Args:
        block: from tokens to tokens.
    """

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block = block

    def forward(self, features: Tensor) -> Tensor:
        """(B, D, N, 1) to (B, D, N, 1)."""
        return tokens_to_features(self.block(features_to_tokens(features)))


class TokenClassifier(nn.Module):
    """The network's own end: its norm, the class token or the mean of the patches, and its linear layer.

    Args:
        net: timm's `VisionTransformer`.
    """

    def __init__(self, net: Any) -> None:
        super().__init__()
        self.norm, self.fc_norm, self.head = net.norm, net.fc_norm, net.head
        self.first_patch = 0 if net.pool_include_prefix else net.num_prefix_tokens
        self.reads_class_token = net.global_pool == "token"

    def forward(self, features: Tensor) -> Tensor:
        """(B, D, N, 1) to logits (B, classes)."""
        tokens = self.norm(features_to_tokens(features))
        pooled = tokens[:, 0] if self.reads_class_token else tokens[:, self.first_patch :].mean(dim=1)
        logits: Tensor = self.head(self.fc_norm(pooled))
        return logits


class TokenMap(nn.Module):
    """The map that heads read of tokens: a norm of its own, then the patches where they lie in the image.

    Between blocks the sum of all that went before is not normalised; whoever reads it normalises it (so does timm's
    `get_intermediate_layers(norm=True)`), here with a norm that is trained with the head. Patches as a map are the
    CNN exits of Bakhtiarnia et al. 2021 ("Multi-Exit Vision Transformer for Dynamic Inference"). Where the network
    classifies by its class token, that is added to every patch (`add` of DPT, Ranftl et al. 2021, section 3), so that a
    head which pools the map sees it whole.

    Args:
        net: timm's `VisionTransformer`.
    """

    def __init__(self, net: Any) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(net.embed_dim, eps=1e-6)
        self.grid: tuple[int, int] = net.patch_embed.grid_size
        self.prefix: int = net.num_prefix_tokens
        self.adds_class_token = net.global_pool == "token"

    def forward(self, features: Tensor) -> Tensor:
        """(B, D, N, 1) to (B, D, H, W)."""
        tokens = self.norm(features_to_tokens(features))
        patches: Tensor = tokens[:, self.prefix :]
        if self.adds_class_token:
            patches = patches + tokens[:, :1]
        return patches.transpose(1, 2).reshape(patches.shape[0], patches.shape[2], *self.grid)


def features_to_tokens(features: Tensor) -> Tensor:
    """(B, D, N, 1) to (B, N, D), without moving a number."""
    return features.squeeze(3).transpose(1, 2)


def tokens_to_features(tokens: Tensor) -> Tensor:
    """(B, N, D) to (B, D, N, 1), without moving a number."""
    return tokens.transpose(1, 2).unsqueeze(3)


def token_blocks(net: nn.Module) -> Blocks:
    """The stem and the transformer blocks of timm's `VisionTransformer`."""
    blocks = net.get_submodule("blocks").named_children()
    return [("stem", TokenStem(net)), *((f"blocks.{number}", TokenBlock(block)) for number, block in blocks)]


def check_tokens(backbone: str, net: Any, image_size: int) -> None:
    """Whether a network of timm's is a vision transformer that is cut here, for images of that size.

    Raises:
        ConfigError: it is another kind, or the size is no multiple of its patches.
    """
    kind = type(net).__name__
    if kind != "VisionTransformer":
        raise ConfigError(
            f"{backbone} is a {kind}, and greenedge cuts plain ViT and DeiT alone (one classifier, attention over all "
            "tokens); choose such a one, as timm/deit_tiny_patch16_224",
            key="backbone",
        )
    if net.attn_pool is not None or net.global_pool not in ("token", "avg"):
        pooling = "attention" if net.attn_pool is not None else repr(net.global_pool)
        raise ConfigError(
            f"{backbone} pools its tokens by {pooling}, and greenedge cuts ViT with a class token or a mean of tokens; "
            "choose such a one, as timm/vit_tiny_patch16_224",
            key="backbone",
        )
    patch = max(net.patch_embed.patch_size)
    if image_size % patch:
        nearest = max(round(image_size / patch), 1) * patch
        raise ConfigError(
            f"{backbone} cuts images into patches of {patch} px, and {image_size} px is no multiple of that; "
            f"set data.image_size to {nearest}",
            key="backbone",
        )


def adapt_token_weights(state: Mapping[str, Tensor], net: Any) -> dict[str, Tensor]:
    """A state dict whose positions are those of another image size, resampled to the network's by timm itself."""
    from timm.layers.pos_embed import resample_abs_pos_embed

    given, own = state.get("pos_embed"), cast(Tensor | None, net.pos_embed)
    if given is None or own is None or given.ndim != 3 or given.shape[1] == own.shape[1]:
        return dict(state)
    prefix = 0 if net.no_embed_class else net.num_prefix_tokens
    side = int((given.shape[1] - prefix) ** 0.5)
    if side < 1 or side * side + prefix != given.shape[1]:
        return dict(state)  # no square of patches: another network, which is said where its tensors do not fit
    resampled = resample_abs_pos_embed(given, list(net.patch_embed.grid_size), num_prefix_tokens=prefix)
    return {**state, "pos_embed": resampled}
