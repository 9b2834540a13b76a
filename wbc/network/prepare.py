"""From packed bytes to the network's input, with or without random augmentation drawn for each image."""

import kornia.augmentation as K
import torch
from skimage.color import rgb_from_hed
from torch import nn

from wbc.config.schema import Augment


class StainJitter:
    """Each image's stains, fainter or stronger (Tellez et al. 2018, §II-D).

    An image's optical density is taken apart into the stains that Ruifrok and Johnston (2001) measured, haematoxylin,
    eosin and DAB, of which each changes as s' = α s + β, with α from [1 - σ, 1 + σ] and β from [-σ, σ].

    Args:
        sigma: σ; β's is in units of optical density to the base e.
    """

    device = torch.device("cpu")  # where it draws, as kornia's

    def __init__(self, sigma: float):
        self.sigma = sigma
        self.stains = torch.tensor(rgb_from_hed, dtype=torch.float32)  # (3, 3), a row for each stain's densities in RGB

    def forward_parameters(self, shape: tuple[int, ...]) -> dict[str, torch.Tensor]:
        """α and β of a batch, (N, 3) each."""
        alpha, beta = self.sigma * (2 * torch.rand(2, shape[0], 3) - 1)
        return {"alpha": 1 + alpha, "beta": beta}

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """(N, 3, H, W) float32 in 0…1, and so is what returns."""
        alpha, beta = self.forward_parameters(images.shape).values()
        apart = torch.linalg.inv(self.stains)
        # α and β in one map of densities: to stains, change, and back
        change = (apart * alpha[:, None] @ self.stains).to(images.device)
        shift = (beta @ self.stains).to(images.device)
        density = -images.clamp_min(1 / 255).log()
        return torch.exp(-torch.einsum("nchw,ncd->ndhw", density, change) - shift[..., None, None]).clamp_max(1)


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
        if augment.stain > 0:
            self.augment.append(StainJitter(augment.stain))
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
