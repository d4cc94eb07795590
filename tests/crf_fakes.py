"""Scores and images that give a CRF something to do."""

import torch
import torch.nn.functional as nnf
from torch import Tensor


def blobs(num: int, height: int, width: int, random_seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(random_seed)
    sides = (max(height // 5, 2), max(width // 5, 2))
    coarse = torch.randn(1, num, *sides, generator=generator)
    return nnf.interpolate(coarse, size=(height, width), mode="bicubic")[0]


def make_scores(num: int, height: int, width: int, random_seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(random_seed)
    noise = torch.randn(num, height, width, generator=generator)
    return (3 * blobs(num, height, width, random_seed) + 0.7 * noise).softmax(dim=0)


def make_image(height: int, width: int, random_seed: int = 0) -> Tensor:
    """Smooth colours with an edge down the middle and a little noise."""
    generator = torch.Generator().manual_seed(random_seed)
    image = 110 + 25 * blobs(3, height, width, random_seed + 100)
    image[:, :, width // 2 :] += 60
    image += 3 * torch.randn(3, height, width, generator=generator)
    return image.clamp(0, 255).byte().permute(1, 2, 0)


def agreement(first: Tensor, second: Tensor) -> float:
    return (first.argmax(dim=0) == second.argmax(dim=0)).float().mean().item()
