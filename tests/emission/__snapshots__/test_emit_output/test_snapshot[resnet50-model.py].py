"""Model `resnet50`, 25.6 M parameters. Written by dskc from resnet50.dsk; yours to edit.

The end of a name tells the sizes of the tensor, one letter each:
    B  batch
    H  224 (H)
    N  1000 (classes)
    D  256 (width)
    I  512 (width)
    T  128 (width)
    C  2048 (C)
    W  7 (W)
    E  64
    F  56
    G  28
    J  14
    K  1024
    L  3
    M  112
"""

from __future__ import annotations

import torch.nn.functional as F
from dskc.runtime import layers
from dskc.runtime.initialize import initialize
from torch import Tensor, nn

# Start values: each parameter draws from the seed and its own name.
INITIAL = {
    "kaiming": (
        "resnet50.stem.weight",
        "resnet50.stage1_first.convolution_1.weight",
        "resnet50.stage1_first.convolution_2.weight",
        "resnet50.stage1_first.convolution_3.weight",
        "resnet50.stage1_first.shortcut.weight",
        "resnet50.stage1.*.convolution_1.weight",
        "resnet50.stage1.*.convolution_2.weight",
        "resnet50.stage1.*.convolution_3.weight",
        "resnet50.stage2_first.convolution_1.weight",
        "resnet50.stage2_first.convolution_2.weight",
        "resnet50.stage2_first.convolution_3.weight",
        "resnet50.stage2_first.shortcut.weight",
        "resnet50.stage2.*.convolution_1.weight",
        "resnet50.stage2.*.convolution_2.weight",
        "resnet50.stage2.*.convolution_3.weight",
        "resnet50.stage3_first.convolution_1.weight",
        "resnet50.stage3_first.convolution_2.weight",
        "resnet50.stage3_first.convolution_3.weight",
        "resnet50.stage3_first.shortcut.weight",
        "resnet50.stage3.*.convolution_1.weight",
        "resnet50.stage3.*.convolution_2.weight",
        "resnet50.stage3.*.convolution_3.weight",
        "resnet50.stage4_first.convolution_1.weight",
        "resnet50.stage4_first.convolution_2.weight",
        "resnet50.stage4_first.convolution_3.weight",
        "resnet50.stage4_first.shortcut.weight",
        "resnet50.stage4.*.convolution_1.weight",
        "resnet50.stage4.*.convolution_2.weight",
        "resnet50.stage4.*.convolution_3.weight",
    ),
    "ones": (
        "resnet50.stem_norm.weight",
        "resnet50.stage1_first.norm_1.weight",
        "resnet50.stage1_first.norm_2.weight",
        "resnet50.stage1_first.norm_3.weight",
        "resnet50.stage1_first.shortcut_norm.weight",
        "resnet50.stage1.*.norm_1.weight",
        "resnet50.stage1.*.norm_2.weight",
        "resnet50.stage1.*.norm_3.weight",
        "resnet50.stage2_first.norm_1.weight",
        "resnet50.stage2_first.norm_2.weight",
        "resnet50.stage2_first.norm_3.weight",
        "resnet50.stage2_first.shortcut_norm.weight",
        "resnet50.stage2.*.norm_1.weight",
        "resnet50.stage2.*.norm_2.weight",
        "resnet50.stage2.*.norm_3.weight",
        "resnet50.stage3_first.norm_1.weight",
        "resnet50.stage3_first.norm_2.weight",
        "resnet50.stage3_first.norm_3.weight",
        "resnet50.stage3_first.shortcut_norm.weight",
        "resnet50.stage3.*.norm_1.weight",
        "resnet50.stage3.*.norm_2.weight",
        "resnet50.stage3.*.norm_3.weight",
        "resnet50.stage4_first.norm_1.weight",
        "resnet50.stage4_first.norm_2.weight",
        "resnet50.stage4_first.norm_3.weight",
        "resnet50.stage4_first.shortcut_norm.weight",
        "resnet50.stage4.*.norm_1.weight",
        "resnet50.stage4.*.norm_2.weight",
        "resnet50.stage4.*.norm_3.weight",
    ),
    "zeros": (
        "resnet50.stem_norm.bias",
        "resnet50.stage1_first.norm_1.bias",
        "resnet50.stage1_first.norm_2.bias",
        "resnet50.stage1_first.norm_3.bias",
        "resnet50.stage1_first.shortcut_norm.bias",
        "resnet50.stage1.*.norm_1.bias",
        "resnet50.stage1.*.norm_2.bias",
        "resnet50.stage1.*.norm_3.bias",
        "resnet50.stage2_first.norm_1.bias",
        "resnet50.stage2_first.norm_2.bias",
        "resnet50.stage2_first.norm_3.bias",
        "resnet50.stage2_first.shortcut_norm.bias",
        "resnet50.stage2.*.norm_1.bias",
        "resnet50.stage2.*.norm_2.bias",
        "resnet50.stage2.*.norm_3.bias",
        "resnet50.stage3_first.norm_1.bias",
        "resnet50.stage3_first.norm_2.bias",
        "resnet50.stage3_first.norm_3.bias",
        "resnet50.stage3_first.shortcut_norm.bias",
        "resnet50.stage3.*.norm_1.bias",
        "resnet50.stage3.*.norm_2.bias",
        "resnet50.stage3.*.norm_3.bias",
        "resnet50.stage4_first.norm_1.bias",
        "resnet50.stage4_first.norm_2.bias",
        "resnet50.stage4_first.norm_3.bias",
        "resnet50.stage4_first.shortcut_norm.bias",
        "resnet50.stage4.*.norm_1.bias",
        "resnet50.stage4.*.norm_2.bias",
        "resnet50.stage4.*.norm_3.bias",
        "resnet50.head.bias",
    ),
    "normal(0.02)": ("resnet50.head.weight",),
}


class Bottleneck(nn.Module):  # std/vision.dsk:18
    def __init__(self) -> None:
        super().__init__()
        self.convolution_1 = nn.Conv2d(64, 64, 1, bias=False)  # std/vision.dsk:19
        self.norm_1 = nn.BatchNorm2d(64, eps=1e-05, momentum=0.1)  # std/vision.dsk:19
        self.convolution_2 = nn.Conv2d(64, 64, 3, padding=1, bias=False)  # std/vision.dsk:20
        self.norm_2 = nn.BatchNorm2d(64, eps=1e-05, momentum=0.1)  # std/vision.dsk:20
        self.convolution_3 = nn.Conv2d(64, 256, 1, bias=False)  # std/vision.dsk:21
        self.norm_3 = nn.BatchNorm2d(256, eps=1e-05, momentum=0.1)  # std/vision.dsk:21
        self.shortcut = nn.Conv2d(64, 256, 1, bias=False)  # std/vision.dsk:23
        self.shortcut_norm = nn.BatchNorm2d(256, eps=1e-05, momentum=0.1)  # std/vision.dsk:23

    def forward(self, x_BEFF: Tensor) -> Tensor:
        h_BEFF = F.relu(self.norm_1(self.convolution_1(x_BEFF)))  # std/vision.dsk:19
        h_BEFF = F.relu(self.norm_2(self.convolution_2(h_BEFF)))  # std/vision.dsk:20
        h_BDFF = self.norm_3(self.convolution_3(h_BEFF))  # std/vision.dsk:21
        x_BDFF = self.shortcut_norm(self.shortcut(x_BEFF))  # std/vision.dsk:23
        return F.relu(h_BDFF + x_BDFF)  # std/vision.dsk:25


class Bottleneck2(nn.Module):  # std/vision.dsk:18
    def __init__(self) -> None:
        super().__init__()
        self.convolution_1 = nn.Conv2d(256, 64, 1, bias=False)  # std/vision.dsk:19
        self.norm_1 = nn.BatchNorm2d(64, eps=1e-05, momentum=0.1)  # std/vision.dsk:19
        self.convolution_2 = nn.Conv2d(64, 64, 3, padding=1, bias=False)  # std/vision.dsk:20
        self.norm_2 = nn.BatchNorm2d(64, eps=1e-05, momentum=0.1)  # std/vision.dsk:20
        self.convolution_3 = nn.Conv2d(64, 256, 1, bias=False)  # std/vision.dsk:21
        self.norm_3 = nn.BatchNorm2d(256, eps=1e-05, momentum=0.1)  # std/vision.dsk:21

    def forward(self, x_BDFF: Tensor) -> Tensor:
        h_BEFF = F.relu(self.norm_1(self.convolution_1(x_BDFF)))  # std/vision.dsk:19
        h_BEFF = F.relu(self.norm_2(self.convolution_2(h_BEFF)))  # std/vision.dsk:20
        h_BDFF = self.norm_3(self.convolution_3(h_BEFF))  # std/vision.dsk:21
        return F.relu(h_BDFF + x_BDFF)  # std/vision.dsk:25


class Bottleneck3(nn.Module):  # std/vision.dsk:18
    def __init__(self) -> None:
        super().__init__()
        self.convolution_1 = nn.Conv2d(256, 128, 1, bias=False)  # std/vision.dsk:19
        self.norm_1 = nn.BatchNorm2d(128, eps=1e-05, momentum=0.1)  # std/vision.dsk:19
        # std/vision.dsk:20
        self.convolution_2 = nn.Conv2d(128, 128, 3, stride=2, padding=1, bias=False)
        self.norm_2 = nn.BatchNorm2d(128, eps=1e-05, momentum=0.1)  # std/vision.dsk:20
        self.convolution_3 = nn.Conv2d(128, 512, 1, bias=False)  # std/vision.dsk:21
        self.norm_3 = nn.BatchNorm2d(512, eps=1e-05, momentum=0.1)  # std/vision.dsk:21
        self.shortcut = nn.Conv2d(256, 512, 1, stride=2, bias=False)  # std/vision.dsk:23
        self.shortcut_norm = nn.BatchNorm2d(512, eps=1e-05, momentum=0.1)  # std/vision.dsk:23

    def forward(self, x_BDFF: Tensor) -> Tensor:
        h_BTFF = F.relu(self.norm_1(self.convolution_1(x_BDFF)))  # std/vision.dsk:19
        h_BTGG = F.relu(self.norm_2(self.convolution_2(h_BTFF)))  # std/vision.dsk:20
        h_BIGG = self.norm_3(self.convolution_3(h_BTGG))  # std/vision.dsk:21
        x_BIGG = self.shortcut_norm(self.shortcut(x_BDFF))  # std/vision.dsk:23
        return F.relu(h_BIGG + x_BIGG)  # std/vision.dsk:25


class Bottleneck4(nn.Module):  # std/vision.dsk:18
    def __init__(self) -> None:
        super().__init__()
        self.convolution_1 = nn.Conv2d(512, 128, 1, bias=False)  # std/vision.dsk:19
        self.norm_1 = nn.BatchNorm2d(128, eps=1e-05, momentum=0.1)  # std/vision.dsk:19
        self.convolution_2 = nn.Conv2d(128, 128, 3, padding=1, bias=False)  # std/vision.dsk:20
        self.norm_2 = nn.BatchNorm2d(128, eps=1e-05, momentum=0.1)  # std/vision.dsk:20
        self.convolution_3 = nn.Conv2d(128, 512, 1, bias=False)  # std/vision.dsk:21
        self.norm_3 = nn.BatchNorm2d(512, eps=1e-05, momentum=0.1)  # std/vision.dsk:21

    def forward(self, x_BIGG: Tensor) -> Tensor:
        h_BTGG = F.relu(self.norm_1(self.convolution_1(x_BIGG)))  # std/vision.dsk:19
        h_BTGG = F.relu(self.norm_2(self.convolution_2(h_BTGG)))  # std/vision.dsk:20
        h_BIGG = self.norm_3(self.convolution_3(h_BTGG))  # std/vision.dsk:21
        return F.relu(h_BIGG + x_BIGG)  # std/vision.dsk:25


class Bottleneck5(nn.Module):  # std/vision.dsk:18
    def __init__(self) -> None:
        super().__init__()
        self.convolution_1 = nn.Conv2d(512, 256, 1, bias=False)  # std/vision.dsk:19
        self.norm_1 = nn.BatchNorm2d(256, eps=1e-05, momentum=0.1)  # std/vision.dsk:19
        # std/vision.dsk:20
        self.convolution_2 = nn.Conv2d(256, 256, 3, stride=2, padding=1, bias=False)
        self.norm_2 = nn.BatchNorm2d(256, eps=1e-05, momentum=0.1)  # std/vision.dsk:20
        self.convolution_3 = nn.Conv2d(256, 1024, 1, bias=False)  # std/vision.dsk:21
        self.norm_3 = nn.BatchNorm2d(1024, eps=1e-05, momentum=0.1)  # std/vision.dsk:21
        self.shortcut = nn.Conv2d(512, 1024, 1, stride=2, bias=False)  # std/vision.dsk:23
        self.shortcut_norm = nn.BatchNorm2d(1024, eps=1e-05, momentum=0.1)  # std/vision.dsk:23

    def forward(self, x_BIGG: Tensor) -> Tensor:
        h_BDGG = F.relu(self.norm_1(self.convolution_1(x_BIGG)))  # std/vision.dsk:19
        h_BDJJ = F.relu(self.norm_2(self.convolution_2(h_BDGG)))  # std/vision.dsk:20
        h_BKJJ = self.norm_3(self.convolution_3(h_BDJJ))  # std/vision.dsk:21
        x_BKJJ = self.shortcut_norm(self.shortcut(x_BIGG))  # std/vision.dsk:23
        return F.relu(h_BKJJ + x_BKJJ)  # std/vision.dsk:25


class Bottleneck6(nn.Module):  # std/vision.dsk:18
    def __init__(self) -> None:
        super().__init__()
        self.convolution_1 = nn.Conv2d(1024, 256, 1, bias=False)  # std/vision.dsk:19
        self.norm_1 = nn.BatchNorm2d(256, eps=1e-05, momentum=0.1)  # std/vision.dsk:19
        self.convolution_2 = nn.Conv2d(256, 256, 3, padding=1, bias=False)  # std/vision.dsk:20
        self.norm_2 = nn.BatchNorm2d(256, eps=1e-05, momentum=0.1)  # std/vision.dsk:20
        self.convolution_3 = nn.Conv2d(256, 1024, 1, bias=False)  # std/vision.dsk:21
        self.norm_3 = nn.BatchNorm2d(1024, eps=1e-05, momentum=0.1)  # std/vision.dsk:21

    def forward(self, x_BKJJ: Tensor) -> Tensor:
        h_BDJJ = F.relu(self.norm_1(self.convolution_1(x_BKJJ)))  # std/vision.dsk:19
        h_BDJJ = F.relu(self.norm_2(self.convolution_2(h_BDJJ)))  # std/vision.dsk:20
        h_BKJJ = self.norm_3(self.convolution_3(h_BDJJ))  # std/vision.dsk:21
        return F.relu(h_BKJJ + x_BKJJ)  # std/vision.dsk:25


class Bottleneck7(nn.Module):  # std/vision.dsk:18
    def __init__(self) -> None:
        super().__init__()
        self.convolution_1 = nn.Conv2d(1024, 512, 1, bias=False)  # std/vision.dsk:19
        self.norm_1 = nn.BatchNorm2d(512, eps=1e-05, momentum=0.1)  # std/vision.dsk:19
        # std/vision.dsk:20
        self.convolution_2 = nn.Conv2d(512, 512, 3, stride=2, padding=1, bias=False)
        self.norm_2 = nn.BatchNorm2d(512, eps=1e-05, momentum=0.1)  # std/vision.dsk:20
        self.convolution_3 = nn.Conv2d(512, 2048, 1, bias=False)  # std/vision.dsk:21
        self.norm_3 = nn.BatchNorm2d(2048, eps=1e-05, momentum=0.1)  # std/vision.dsk:21
        self.shortcut = nn.Conv2d(1024, 2048, 1, stride=2, bias=False)  # std/vision.dsk:23
        self.shortcut_norm = nn.BatchNorm2d(2048, eps=1e-05, momentum=0.1)  # std/vision.dsk:23

    def forward(self, x_BKJJ: Tensor) -> Tensor:
        h_BIJJ = F.relu(self.norm_1(self.convolution_1(x_BKJJ)))  # std/vision.dsk:19
        h_BIWW = F.relu(self.norm_2(self.convolution_2(h_BIJJ)))  # std/vision.dsk:20
        h_BCWW = self.norm_3(self.convolution_3(h_BIWW))  # std/vision.dsk:21
        x_BCWW = self.shortcut_norm(self.shortcut(x_BKJJ))  # std/vision.dsk:23
        return F.relu(h_BCWW + x_BCWW)  # std/vision.dsk:25


class Bottleneck8(nn.Module):  # std/vision.dsk:18
    def __init__(self) -> None:
        super().__init__()
        self.convolution_1 = nn.Conv2d(2048, 512, 1, bias=False)  # std/vision.dsk:19
        self.norm_1 = nn.BatchNorm2d(512, eps=1e-05, momentum=0.1)  # std/vision.dsk:19
        self.convolution_2 = nn.Conv2d(512, 512, 3, padding=1, bias=False)  # std/vision.dsk:20
        self.norm_2 = nn.BatchNorm2d(512, eps=1e-05, momentum=0.1)  # std/vision.dsk:20
        self.convolution_3 = nn.Conv2d(512, 2048, 1, bias=False)  # std/vision.dsk:21
        self.norm_3 = nn.BatchNorm2d(2048, eps=1e-05, momentum=0.1)  # std/vision.dsk:21

    def forward(self, x_BCWW: Tensor) -> Tensor:
        h_BIWW = F.relu(self.norm_1(self.convolution_1(x_BCWW)))  # std/vision.dsk:19
        h_BIWW = F.relu(self.norm_2(self.convolution_2(h_BIWW)))  # std/vision.dsk:20
        h_BCWW = self.norm_3(self.convolution_3(h_BIWW))  # std/vision.dsk:21
        return F.relu(h_BCWW + x_BCWW)  # std/vision.dsk:25


class Resnet502(nn.Module):  # std/vision.dsk:29
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)  # std/vision.dsk:30
        self.stem_norm = nn.BatchNorm2d(64, eps=1e-05, momentum=0.1)  # std/vision.dsk:30
        self.stage1_first = Bottleneck()  # std/vision.dsk:32
        self.stage1 = nn.ModuleList(Bottleneck2() for _ in range(2))  # std/vision.dsk:33
        self.stage2_first = Bottleneck3()  # std/vision.dsk:34
        self.stage2 = nn.ModuleList(Bottleneck4() for _ in range(3))  # std/vision.dsk:35
        self.stage3_first = Bottleneck5()  # std/vision.dsk:36
        self.stage3 = nn.ModuleList(Bottleneck6() for _ in range(5))  # std/vision.dsk:37
        self.stage4_first = Bottleneck7()  # std/vision.dsk:38
        self.stage4 = nn.ModuleList(Bottleneck8() for _ in range(2))  # std/vision.dsk:39
        self.head = nn.Linear(2048, 1000)  # std/vision.dsk:40

    def forward(self, images_BLHH: Tensor) -> Tensor:
        x_BEMM = F.relu(self.stem_norm(self.stem(images_BLHH)))  # std/vision.dsk:30
        x_BEFF = F.max_pool2d(x_BEMM, 3, stride=2, padding=1)  # std/vision.dsk:31
        x_BDFF = self.stage1_first(x_BEFF)  # std/vision.dsk:32
        for bottleneck in self.stage1:  # std/vision.dsk:33
            x_BDFF = bottleneck(x_BDFF)
        x_BIGG = self.stage2_first(x_BDFF)  # std/vision.dsk:34
        for bottleneck in self.stage2:  # std/vision.dsk:35
            x_BIGG = bottleneck(x_BIGG)
        x_BKJJ = self.stage3_first(x_BIGG)  # std/vision.dsk:36
        for bottleneck in self.stage3:  # std/vision.dsk:37
            x_BKJJ = bottleneck(x_BKJJ)
        x_BCWW = self.stage4_first(x_BKJJ)  # std/vision.dsk:38
        for bottleneck in self.stage4:  # std/vision.dsk:39
            x_BCWW = bottleneck(x_BCWW)
        return self.head(x_BCWW.mean((-2, -1)))  # std/vision.dsk:40


class Resnet50(nn.Module):  # resnet50.dsk:8
    def __init__(self) -> None:
        super().__init__()
        self.resnet50 = Resnet502()  # resnet50.dsk:9

    def forward(self, images: Tensor) -> Tensor:
        """Logits [B, N] of images [B, L, H, H]."""
        logits_BN = self.resnet50(images)  # resnet50.dsk:9
        return logits_BN

    def objectives(self, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """The loss that is minimised; its parts and the metrics follow by name."""
        logits_BN = self(images)
        # resnet50.dsk:10
        cross_entropy = layers.cross_entropy(logits_BN, labels, label_smoothing=0.1)
        accuracy = layers.accuracy(logits_BN, labels)  # resnet50.dsk:11
        return {"loss": cross_entropy, "accuracy": accuracy}

    def initialize(self, seed: int) -> None:
        """Sets the start values of all parameters."""
        initialize(self, INITIAL, seed)
