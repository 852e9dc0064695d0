"""Times each augmentation in greenedge's loader against the same one per image with PIL, ImageFolder and DataLoader.

Both give batches of 256 normalised float32 tensors of the same images, in one process each. Augmentations that
torchvision does not have for single images (mixing, Local Augment) are compared with ImageFolder without augmentation.
"""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path

import harness
import torch
from images import training_images
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from greenedge.augment import AUGMENTATIONS, LEARNED
from greenedge.data.loader import InputTransform, iterate_batches

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
BILINEAR = v2.InterpolationMode.BILINEAR
# torchvision has these for tensors only.
ON_TENSORS = ("gaussian_noise", "random_erasing", "cutout", "channel_shuffle")
SINGLE: dict[str, v2.Transform] = {
    "blur": v2.GaussianBlur(7, (0.1, 1.0)),
    "brightness": v2.ColorJitter(brightness=0.3),
    "channel_shuffle": v2.RandomChannelPermutation(),
    "contrast": v2.ColorJitter(contrast=0.3),
    "cutout": v2.RandomErasing(p=1.0, scale=(0.0625, 0.0625), ratio=(1, 1)),
    "gaussian_noise": v2.GaussianNoise(sigma=0.05),
    "horizontal_flip": v2.RandomHorizontalFlip(),
    "pad_and_crop": v2.RandomCrop(64, padding=4),
    "rand_augment": v2.RandAugment(interpolation=BILINEAR),
    "random_erasing": v2.RandomErasing(),
    "random_resized_crop": v2.RandomResizedCrop(64, scale=(0.25, 1)),
    "resize_and_crop": v2.Compose([v2.Resize(72, v2.InterpolationMode.BICUBIC), v2.RandomCrop(64)]),
    "rotate": v2.RandomRotation(15, BILINEAR),
    "rotate_quarter": v2.RandomChoice([v2.RandomRotation((k, k)) for k in (0, 90, 180, 270)]),
    "scale": v2.RandomAffine(0, scale=(0.8, 1.2), interpolation=BILINEAR),
    "shear": v2.RandomAffine(0, shear=5.7, interpolation=BILINEAR),
    "translate": v2.RandomAffine(0, translate=(0.1, 0.1), interpolation=BILINEAR),
    "trivial_augment": v2.TrivialAugmentWide(interpolation=BILINEAR),
    "vertical_flip": v2.RandomVerticalFlip(),
}


def single_transforms(name: str) -> v2.Transform:
    to_tensor = [v2.PILToTensor(), v2.ToDtype(torch.float32, scale=True)]
    own = [SINGLE[name]] if name in SINGLE else []
    order = [*to_tensor, *own] if name in ON_TENSORS else [*own, *to_tensor]
    return v2.Compose([*order, v2.Normalize(MEAN, STD)])


def main() -> None:
    parser = harness.parser(__doc__, rounds=3)
    parser.add_argument("augmentations", nargs="*", default=[name for name in AUGMENTATIONS if name not in LEARNED])
    options = parser.parse_args()
    contests = []
    with tempfile.TemporaryDirectory() as work:
        images = training_images(Path(work), per_class=10)
        transform = InputTransform(64, MEAN, STD)

        def greenedge(name: str) -> None:
            generator = torch.Generator().manual_seed(0)
            for batch in iterate_batches(images.prepared, 256, torch.randperm(len(images.prepared))):
                assert transform(AUGMENTATIONS[name](batch, generator).images).dtype == torch.float32

        def imagefolder(loader: DataLoader[object]) -> None:
            for pixels, _ in loader:
                assert pixels.dtype == torch.float32

        for name in options.augmentations:
            loader = DataLoader(ImageFolder(images.folder, single_transforms(name)), batch_size=256, shuffle=True)
            contenders = {
                f"greenedge/{name}": partial(greenedge, name),
                f"imagefolder/{name}": partial(imagefolder, loader),
            }
            contests.append(harness.time_interleaved(contenders, options.rounds))
        harness.report(*contests, images=len(images.prepared), as_json=options.json)


if __name__ == "__main__":
    main()
