"""From packed bytes to the network's input, with or without random augmentation drawn for each image."""

import kornia.augmentation as K
import torch
from torch import nn

from wbc.config import Augment


class Prepare(nn.Module):
    """Scale to 0…1, augment (report, Table 5), normalise, erase.

    Rotation, shift and zoom are one resampling, which blurs once; what comes from outside the frame is black, as in
    torchvision. Erasing follows the normalisation, so that an erased patch holds the mean colour.
    """

    def __init__(self, normalisation: dict[str, list[float]], augment: Augment | None = None, erase: bool = True):
        super().__init__()
        for name, values in normalisation.items():
            self.register_buffer(name, torch.tensor(values).view(1, 3, 1, 1))
        self.augment = self.erase = nn.Identity()
        if augment is None:
            return
        shift, jitter = augment.translate, (augment.brightness, augment.contrast, augment.saturation)
        self.augment = nn.Sequential(
            K.RandomHorizontalFlip(p=augment.flip),
            K.RandomVerticalFlip(p=augment.flip),
            K.RandomAffine(augment.rotation, (shift, shift), tuple(augment.scale), p=1.0),
            K.ColorJitter(*jitter, p=1.0) if any(jitter) else nn.Identity(),
        )
        if erase and augment.erase > 0:
            self.erase = K.RandomErasing(p=augment.erase, scale=tuple(augment.erase_scale))

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """(N, H, W, 3) uint8 → (N, 3, H, W) float32, channels last in memory."""
        images = self.augment(pixels.permute(0, 3, 1, 2).float() / 255)
        images = self.erase((images - self.mean) / self.std)
        return images.contiguous(memory_format=torch.channels_last)
