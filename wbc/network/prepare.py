"""From packed bytes to the network's input, with or without random augmentation drawn for each image."""

import kornia.augmentation as K
import torch
from torch import nn

from wbc.config import Augment


class Prepare(nn.Module):
    """Scale to 0…1, augment (report, Table 5), normalise, erase.

    Rotation, shift and zoom are one resampling, which blurs once; what comes from outside the frame is black, as in
    torchvision. Erasing follows the normalisation, so that an erased patch holds the mean colour.

    Everything random is drawn on the CPU: the same for any device, and a GPU's queue never has to be waited for.
    """

    def __init__(self, normalisation: dict[str, list[float]], augment: Augment | None = None, erase: bool = True):
        super().__init__()
        for name, values in normalisation.items():
            self.register_buffer(name, torch.tensor(values).view(1, 3, 1, 1))
        # Plain lists, which `to` does not see: kornia's modules would take their random generators along.
        self.augment, self.erase = [], []
        if augment is None:
            return
        shift, jitter = augment.translate, (augment.brightness, augment.contrast, augment.saturation)
        self.augment = [
            K.RandomHorizontalFlip(p=augment.flip),
            K.RandomVerticalFlip(p=augment.flip),
            K.RandomAffine(augment.rotation, (shift, shift), tuple(augment.scale), p=1.0),
        ]
        if any(jitter):
            self.augment.append(K.ColorJitter(*jitter, p=1.0))
        if erase and augment.erase > 0:
            self.erase.append(K.RandomErasing(p=augment.erase, scale=tuple(augment.erase_scale)))

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """(N, H, W, 3) uint8 → (N, 3, H, W) float32, channels last in memory."""
        images = pixels.permute(0, 3, 1, 2).float() / 255
        for change in self.augment:
            images = change(images)
        images = (images - self.mean) / self.std
        for change in self.erase:
            images = change(images)
        return images.contiguous(memory_format=torch.channels_last)
