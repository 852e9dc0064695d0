from __future__ import annotations

import torch

from greenedge.augment.policies import (
    AUG_MIX,
    RAND_AUGMENT,
    TRIVIAL_AUGMENT,
    PolicyOp,
    _apply,
    aug_mix,
    rand_augment,
    trivial_augment,
)
from greenedge.data.loader import Batch


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def batch(count: int, size: int = 16) -> Batch:
    images = torch.randint(0, 256, (count, 3, size, size), generator=seeded(1), dtype=torch.uint8)
    return Batch(images, torch.arange(count), count)


def test_trivial_augment_gives_each_image_the_result_of_one_operation_of_its_list() -> None:
    made = batch(60)
    result = trivial_augment(made, seeded(2)).images
    pixels = made.images.float() / 255
    strengths = torch.arange(31)
    explained = torch.zeros(60, dtype=torch.bool)
    for choice in TRIVIAL_AUGMENT:
        for signed in (choice, PolicyOp(choice.operation, choice.base, -choice.max_delta, of_side=choice.of_side)):
            plain = PolicyOp(signed.operation, signed.base, signed.max_delta, of_side=signed.of_side)
            for amount in plain.amounts(strengths, 16, seeded()):
                one = plain.operation(pixels, amount.expand(60)).clamp(0, 1)
                same = ((one * 255).round() - result.float()).abs().amax(dim=(1, 2, 3)) <= 1
                explained |= same
    assert explained.all()


def test_trivial_augment_draws_every_operation_equally_often() -> None:
    pure = tuple(PolicyOp(lambda x, _, level=level: torch.full_like(x, level / 14)) for level in range(14))
    images = torch.zeros(7_000, 3, 2, 2)
    drawn = (_apply(images, pure, torch.zeros(7_000), seeded(3))[:, 0, 0, 0] * 14).round().long()
    counts = drawn.bincount(minlength=14)
    assert counts.min() > 400
    assert counts.max() < 600


def test_policy_amounts_run_from_no_change_to_the_published_extremes() -> None:
    greatest = torch.full((200,), 30)
    for choices, rotation in ((TRIVIAL_AUGMENT, 135), (RAND_AUGMENT, 30)):
        by_name = {choice.operation.__name__: choice for choice in choices}
        degrees = by_name["rotate"].amounts(greatest, 64, seeded())
        assert set(degrees.tolist()) == {-rotation, rotation}
        assert by_name["solarize"].amounts(torch.tensor([0, 30]), 64, seeded()).tolist() == [1, 0]
    wide = {choice.operation.__name__: choice for choice in TRIVIAL_AUGMENT}
    assert set(wide["translate_x"].amounts(greatest, 64, seeded()).tolist()) == {-32, 32}
    assert wide["_posterize"].amounts(torch.tensor([0, 30]), 64, seeded()).tolist() == [8, 2]


def test_rand_augment_at_magnitude_zero_applies_only_operations_without_strength() -> None:
    """At magnitude 0 only autocontrast and equalize change an image by more than rounding."""
    made = batch(300)
    result = rand_augment(made, seeded(4), count=1, magnitude=0).images
    unchanged = ((result.float() - made.images.float()).abs().amax(dim=(1, 2, 3)) <= 1).float().mean().item()
    assert unchanged > 0.8
    assert unchanged < 1


def test_rand_augment_changes_more_with_more_operations() -> None:
    made = batch(300)

    def distance(count: int) -> float:
        result = rand_augment(made, seeded(5), count=count, magnitude=9).images
        return (result.float() - made.images.float()).abs().mean().item()

    assert distance(1) < distance(3)


def test_aug_mix_of_one_operation_is_a_blend_of_the_image_and_what_it_gives() -> None:
    """At severity 0 only autocontrast, equalize and solarize of white change anything, whose results are known."""
    made = Batch(torch.rand(40, 3, 12, 12, generator=seeded(1)), torch.arange(40), 40)
    result = aug_mix(made, seeded(2), severity=0, width=1, depth=1).images
    blends = 0
    for image, found in zip(made.images, result, strict=True):
        explained = torch.allclose(found, image, atol=3e-3)  # posterize at 8 bits rounds
        for choice in AUG_MIX[:2]:
            change = choice.operation(image[None], torch.zeros(1))[0] - image
            share = ((found - image) * change).sum() / change.square().sum()
            if torch.allclose(found, image + share * change, atol=1e-4) and 0 <= share <= 1:
                explained, blends = True, blends + int(share > 0.05)
        assert explained
    assert blends > 3


def test_aug_mix_keeps_nearer_to_the_image_than_its_chains() -> None:
    made = batch(200)

    def distance(**options: float) -> float:
        result = aug_mix(made, seeded(5), **options).images  # type: ignore[arg-type]
        return (result.float() - made.images.float()).abs().mean().item()

    assert distance(severity=1) < distance(severity=9) < distance(severity=25)
    assert distance(depth=1) < distance(depth=4)
    assert distance(width=8) < distance(width=1)
