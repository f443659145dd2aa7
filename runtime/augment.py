"""Random changes of images: a pure function of (seed, epoch, sample), so that a resumed run repeats them."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from . import philox
from .arrays import Augment


def random(seed: int, shift: float = 0.0, rotate: float = 0.0, field: str = "images") -> Augment:
    """Moves each image by up to `shift` pixels along each axis and turns it by up to `rotate` degrees, uniformly.

    Interpolates linearly; what comes in from outside is zero.
    """
    key = philox.derive(seed, "augment")

    def change(batch: dict[str, Tensor], epochs: Tensor, ids: Tensor) -> dict[str, Tensor]:
        images = batch[field]
        draws = torch.stack([philox.unit(word) for word in philox.words(key, ids, epochs)], dim=1) * 2.0 - 1.0
        return {**batch, field: move(images, shift * draws[:, :2], rotate * draws[:, 2])}

    return change


def move(images: Tensor, pixels: Tensor, degrees: Tensor) -> Tensor:
    """Images [B, C, H, W] turned counter-clockwise about their middle, then moved right and down by [B, 2] pixels."""
    height, width = images.shape[-2:]
    angle = degrees * (math.pi / 180.0)
    cos, sin = torch.cos(angle), torch.sin(angle)
    # Where each output point comes from, in grid_sample's coordinates (-1..1 over the width and over the height).
    right, down = 2.0 * pixels[:, 0] / width, 2.0 * pixels[:, 1] / height
    ratio = height / width
    across = torch.stack([cos, -sin * ratio, -(cos * right - sin * ratio * down)], dim=1)
    along = torch.stack([sin / ratio, cos, -(sin / ratio * right + cos * down)], dim=1)
    grid = F.affine_grid(torch.stack([across, along], dim=1), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid.to(images.dtype), mode="bilinear", padding_mode="zeros", align_corners=False)
