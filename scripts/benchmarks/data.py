"""Times reading and augmenting: greenedge's loader against ImageFolder + PIL + DataLoader, in one process each.

Both give batches of 256 normalised float32 tensors of the same images, flipped both ways and cropped after padding.
"""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path

import harness
import torch
from images import training_images
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder

from greenedge.augment.geometric import horizontal_flip, pad_and_crop, vertical_flip
from greenedge.data.loader import InputTransform, iterate_batches

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def main() -> None:
    options = harness.parser(__doc__, rounds=5).parse_args()
    with tempfile.TemporaryDirectory() as work:
        images = training_images(Path(work), per_class=25)
        usual = transforms.Compose(
            [
                transforms.RandomHorizontalFlip(),
                transforms.RandomVerticalFlip(),
                transforms.RandomCrop(64, padding=4),
                transforms.ToTensor(),
                transforms.Normalize(MEAN, STD),
            ]
        )
        loader = DataLoader(ImageFolder(images.folder, usual), batch_size=256, shuffle=True)
        augment = [horizontal_flip, vertical_flip, partial(pad_and_crop, padding=4)]
        transform = InputTransform(64, MEAN, STD)
        generator = torch.Generator().manual_seed(0)

        def greenedge() -> None:
            order = torch.randperm(len(images.prepared), generator=generator)
            for batch in iterate_batches(images.prepared, 256, order):
                for each in augment:
                    batch = each(batch, generator)
                assert transform(batch.images).dtype == torch.float32

        def imagefolder() -> None:
            for pixels, _ in loader:
                assert pixels.dtype == torch.float32

        medians = harness.time_interleaved({"greenedge": greenedge, "imagefolder": imagefolder}, options.rounds)
        harness.report(medians, images=len(images.prepared), as_json=options.json)


if __name__ == "__main__":
    main()
