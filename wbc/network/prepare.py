"""From packed bytes to the input of a network, with random augmentation drawn for each image."""

import kornia.augmentation as K
import torch
from skimage.color import rgb_from_hed
from torch import nn

from wbc.config.schema import Augment


class StainJitter:
    """Make the stains of each image fainter or stronger (Tellez et al. 2018, §II-D).

    The optical density to the base e is separated into the stains measured by Ruifrok and Johnston (2001):
    haematoxylin, eosin and DAB. Each becomes s' = α s + β, with α from [1 - σ, 1 + σ] and β from [-σ, σ].
    """

    def __init__(self, sigma: float):
        self.sigma = sigma
        self.stains = torch.tensor(rgb_from_hed, dtype=torch.float32)  # (3, 3), one row of RGB densities per stain

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """(N, 3, H, W) float32 in 0…1 → the same."""
        alpha, beta = self.sigma * (2 * torch.rand(2, len(images), 3) - 1)
        # One linear map of RGB densities: to stains, α, and back
        change = (torch.linalg.inv(self.stains) * (1 + alpha)[:, None] @ self.stains).to(images.device)
        shift = (beta @ self.stains).to(images.device)
        density = -images.clamp_min(1 / 255).log()
        return torch.exp(-torch.einsum("nchw,ncd->ndhw", density, change) - shift[..., None, None]).clamp_max(1)


class Prepare(nn.Module):
    """Scale to 0…1, augment (report, Table 5), normalise, erase.

    Rotation, shift and zoom are one resampling, so that the image is blurred once; pixels from outside the image are
    black, as in torchvision. Erasing follows the normalisation, so that an erased patch has the mean colour. Random
    numbers are drawn on the CPU: they are the same for every device, and no draw waits for the GPU. The normalisation
    is `mean` and `std` of each channel, of values in 0…1.
    """

    def __init__(self, normalisation: dict[str, list[float]], augment: Augment | None = None):
        super().__init__()
        for name, values in normalisation.items():
            self.register_buffer(name, torch.tensor(values).view(1, 3, 1, 1))
        # A plain list: `to` would move the random generators of submodules to the device.
        self.changes = [self._normalise]
        if augment:
            shift, jitter = augment.translate, (augment.brightness, augment.contrast, augment.saturation)
            self.changes = [
                K.RandomHorizontalFlip(p=augment.flip),
                K.RandomVerticalFlip(p=augment.flip),
                K.RandomAffine(augment.rotation, (shift, shift), tuple(augment.scale), p=1.0),
                *([StainJitter(augment.stain)] if augment.stain else []),
                *([K.ColorJitter(*jitter, p=1.0)] if any(jitter) else []),
                self._normalise,
                *([K.RandomErasing(tuple(augment.erase_scale), p=augment.erase)] if augment.erase else []),
            ]

    def _normalise(self, images: torch.Tensor) -> torch.Tensor:
        return (images - self.mean) / self.std

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """(N, H, W, 3) uint8 → (N, 3, H, W) float32, channels last in memory."""
        images = pixels.permute(0, 3, 1, 2).float() / 255
        for change in self.changes:
            images = change(images)
        return images.contiguous(memory_format=torch.channels_last)
