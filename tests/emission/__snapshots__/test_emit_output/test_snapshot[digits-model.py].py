"""Model `digits`, 262.7 k parameters. Written by dskc from digits.dsk; yours to edit.

The end of a name tells the sizes of the tensor, one letter each:
    B  batch
    N  10 (data.classes)
    C  64 (C)
    H  4 (H)
    W  8 (W)
    I  32 (width)
"""

from __future__ import annotations

import torch.nn.functional as F
from dskc.runtime import layers
from dskc.runtime.initialize import initialize
from torch import Tensor, nn

# Start values: each parameter draws from the seed and its own name.
INITIAL = {
    "kaiming": (
        "conv2d.weight",
        "early.*.convolution_1.weight",
        "early.*.convolution_2.weight",
        "residual_block.convolution_1.weight",
        "residual_block.convolution_2.weight",
        "residual_block.shortcut.weight",
        "late.*.convolution_1.weight",
        "late.*.convolution_2.weight",
    ),
    "ones": (
        "batch_norm.weight",
        "early.*.norm_1.weight",
        "early.*.norm_2.weight",
        "residual_block.norm_1.weight",
        "residual_block.norm_2.weight",
        "residual_block.shortcut_norm.weight",
        "late.*.norm_1.weight",
        "late.*.norm_2.weight",
    ),
    "zeros": (
        "batch_norm.bias",
        "early.*.norm_1.bias",
        "early.*.norm_2.bias",
        "early_head.head.bias",
        "residual_block.norm_1.bias",
        "residual_block.norm_2.bias",
        "residual_block.shortcut_norm.bias",
        "late.*.norm_1.bias",
        "late.*.norm_2.bias",
    ),
    "normal(0.02)": (
        "early_head.head.weight",
        "linear.weight",
    ),
}


class ResidualBlock(nn.Module):  # std/vision.dsk:8
    def __init__(self) -> None:
        super().__init__()
        self.convolution_1 = nn.Conv2d(32, 32, 3, padding=1, bias=False)  # std/vision.dsk:9
        self.norm_1 = nn.BatchNorm2d(32, eps=1e-05, momentum=0.1)  # std/vision.dsk:9
        self.convolution_2 = nn.Conv2d(32, 32, 3, padding=1, bias=False)  # std/vision.dsk:10
        self.norm_2 = nn.BatchNorm2d(32, eps=1e-05, momentum=0.1)  # std/vision.dsk:10

    def forward(self, x_BIWW: Tensor) -> Tensor:
        h_BIWW = F.relu(self.norm_1(self.convolution_1(x_BIWW)))  # std/vision.dsk:9
        h_BIWW = self.norm_2(self.convolution_2(h_BIWW))  # std/vision.dsk:10
        return F.relu(h_BIWW + x_BIWW)  # std/vision.dsk:14


class EarlyHead(nn.Module):  # std/vision.dsk:44
    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(32, 10)  # std/vision.dsk:45

    def forward(self, x_BIWW: Tensor) -> Tensor:
        return self.head(x_BIWW.mean((-2, -1)))  # std/vision.dsk:45


class ResidualBlock2(nn.Module):  # std/vision.dsk:8
    def __init__(self) -> None:
        super().__init__()
        # std/vision.dsk:9
        self.convolution_1 = nn.Conv2d(32, 64, 3, stride=2, padding=1, bias=False)
        self.norm_1 = nn.BatchNorm2d(64, eps=1e-05, momentum=0.1)  # std/vision.dsk:9
        self.convolution_2 = nn.Conv2d(64, 64, 3, padding=1, bias=False)  # std/vision.dsk:10
        self.norm_2 = nn.BatchNorm2d(64, eps=1e-05, momentum=0.1)  # std/vision.dsk:10
        self.shortcut = nn.Conv2d(32, 64, 1, stride=2, bias=False)  # std/vision.dsk:12
        self.shortcut_norm = nn.BatchNorm2d(64, eps=1e-05, momentum=0.1)  # std/vision.dsk:12

    def forward(self, x_BIWW: Tensor) -> Tensor:
        h_BCHH = F.relu(self.norm_1(self.convolution_1(x_BIWW)))  # std/vision.dsk:9
        h_BCHH = self.norm_2(self.convolution_2(h_BCHH))  # std/vision.dsk:10
        x_BCHH = self.shortcut_norm(self.shortcut(x_BIWW))  # std/vision.dsk:12
        return F.relu(h_BCHH + x_BCHH)  # std/vision.dsk:14


class ResidualBlock3(nn.Module):  # std/vision.dsk:8
    def __init__(self) -> None:
        super().__init__()
        self.convolution_1 = nn.Conv2d(64, 64, 3, padding=1, bias=False)  # std/vision.dsk:9
        self.norm_1 = nn.BatchNorm2d(64, eps=1e-05, momentum=0.1)  # std/vision.dsk:9
        self.convolution_2 = nn.Conv2d(64, 64, 3, padding=1, bias=False)  # std/vision.dsk:10
        self.norm_2 = nn.BatchNorm2d(64, eps=1e-05, momentum=0.1)  # std/vision.dsk:10

    def forward(self, x_BCHH: Tensor) -> Tensor:
        h_BCHH = F.relu(self.norm_1(self.convolution_1(x_BCHH)))  # std/vision.dsk:9
        h_BCHH = self.norm_2(self.convolution_2(h_BCHH))  # std/vision.dsk:10
        return F.relu(h_BCHH + x_BCHH)  # std/vision.dsk:14


class Digits(nn.Module):  # digits.dsk:9
    def __init__(self) -> None:
        super().__init__()
        self.conv2d = nn.Conv2d(1, 32, 3, padding=1, bias=False)  # digits.dsk:10
        self.batch_norm = nn.BatchNorm2d(32, eps=1e-05, momentum=0.1)  # digits.dsk:10
        self.early = nn.ModuleList(ResidualBlock() for _ in range(3))  # digits.dsk:11
        self.early_head = EarlyHead()  # digits.dsk:12
        self.residual_block = ResidualBlock2()  # digits.dsk:13
        self.late = nn.ModuleList(ResidualBlock3() for _ in range(2))  # digits.dsk:14
        self.linear = nn.Linear(64, 10, bias=False)  # digits.dsk:15

    def outputs(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """The prediction, and what the objectives need of the way to it."""
        x_BIWW = F.relu(self.batch_norm(self.conv2d(images)))  # digits.dsk:10
        for residual_block in self.early:  # digits.dsk:11
            x_BIWW = residual_block(x_BIWW)
        x_BCHH = self.residual_block(x_BIWW)  # digits.dsk:13
        for residual_block in self.late:  # digits.dsk:14
            x_BCHH = residual_block(x_BCHH)
        logits_BN = self.linear(x_BCHH.mean((-2, -1)))  # digits.dsk:15
        return logits_BN, x_BIWW

    def forward(self, images: Tensor) -> Tensor:
        """The prediction."""
        return self.outputs(images)[0]

    def objectives(self, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """The loss that is minimised; its parts and the metrics follow by name."""
        logits_BN, x_BIWW = self.outputs(images)
        early_head_BN = self.early_head(x_BIWW)  # digits.dsk:12
        cross_entropy = layers.cross_entropy(logits_BN, labels)  # digits.dsk:16
        accuracy = layers.accuracy(logits_BN, labels)  # digits.dsk:17
        cross_entropy_early_head = layers.cross_entropy(early_head_BN, labels)  # digits.dsk:12
        accuracy_early_head = layers.accuracy(early_head_BN, labels)
        return {
            "loss": cross_entropy + 0.3 * cross_entropy_early_head,
            "cross_entropy": cross_entropy,
            "accuracy": accuracy,
            "cross_entropy_early_head": cross_entropy_early_head,
            "accuracy_early_head": accuracy_early_head,
        }

    def initialize(self, seed: int) -> None:
        """Sets the start values of all parameters."""
        initialize(self, INITIAL, seed)
