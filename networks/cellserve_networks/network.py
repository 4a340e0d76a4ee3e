"""The Cellpose network (CPnet), with the parameter names of the official checkpoints.

A residual U-Net of four scales whose up pass is told the style of the whole tile (Stringer et al. 2021, Methods, "Deep
neural network"). Reads top to bottom: layers, blocks of one scale, the two passes, the network. All tensors are
float32; feature maps are [batch,channels,y,x], styles [batch,256].
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

INPUT_CHANNELS = 2
OUTPUT_CHANNELS = 3
WIDTHS = (32, 64, 128, 256)
STYLE_SIZE = WIDTHS[-1]
DEFAULT_DIAMETER = 30.0


def _layer(channels_in: int, channels_out: int, size: int) -> nn.Sequential:
    """Batch norm, relu, convolution: what the paper draws as one layer."""
    return nn.Sequential(
        nn.BatchNorm2d(channels_in, eps=1e-5, momentum=0.05),
        nn.ReLU(),
        nn.Conv2d(channels_in, channels_out, size, padding=size // 2),
    )


def _projection(channels_in: int, channels_out: int) -> nn.Sequential:
    """The skip of a residual block whose width changes: no relu."""
    return nn.Sequential(
        nn.BatchNorm2d(channels_in, eps=1e-5, momentum=0.05),
        nn.Conv2d(channels_in, channels_out, 1),
    )


class StyledLayer(nn.Module):
    """A layer that first adds a linear function of the style to its input."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.conv = _layer(channels_in, channels_out, 3)
        self.full = nn.Linear(STYLE_SIZE, channels_in)

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        """Maps as large as `x`, of the layer's width."""
        result: Tensor = self.conv(x + self.full(style)[..., None, None])
        return result


class DownBlock(nn.Module):
    """One scale of the down pass: two residual blocks of two layers each."""

    def __init__(self, channels_in: int, channels_out: int, residual: bool = True) -> None:
        super().__init__()
        self.residual = residual
        self.conv = nn.Sequential()
        self.conv.add_module("conv_0", _layer(channels_in, channels_out, 3))
        for index in (1, 2, 3):
            self.conv.add_module(f"conv_{index}", _layer(channels_out, channels_out, 3))
        self.proj = _projection(channels_in, channels_out)

    def forward(self, x: Tensor) -> Tensor:
        """Maps as large as `x`, of the block's width."""
        conv_0, conv_1, conv_2, conv_3 = self.conv
        middle: Tensor = conv_1(conv_0(x))
        if self.residual:
            middle = self.proj(x) + middle
        result: Tensor = conv_3(conv_2(middle))
        return middle + result if self.residual else result


class UpBlock(nn.Module):
    """One scale of the up pass: a down block that also takes the maps of the down pass and the style."""

    def __init__(self, channels_in: int, channels_out: int, residual: bool = True, concatenation: bool = False) -> None:
        super().__init__()
        self.residual = residual
        self.concatenation = concatenation
        self.conv = nn.Sequential()
        self.conv.add_module("conv_0", _layer(channels_in, channels_out, 3))
        for index in (1, 2, 3):
            joined = 2 if concatenation and index == 1 else 1
            self.conv.add_module(f"conv_{index}", StyledLayer(joined * channels_out, channels_out))
        self.proj = _projection(channels_in, channels_out)

    def forward(self, x: Tensor, skip: Tensor, style: Tensor) -> Tensor:
        """Maps as large as `x`, of the block's width; `skip` has that shape already."""
        conv_0, conv_1, conv_2, conv_3 = self.conv
        first: Tensor = conv_0(x)
        middle: Tensor = conv_1(torch.cat([first, skip], dim=1) if self.concatenation else first + skip, style)
        if self.residual:
            middle = self.proj(x) + middle
        result: Tensor = conv_3(conv_2(middle, style), style)
        return middle + result if self.residual else result


class DownPass(nn.Module):
    """A tile to the maps of every scale, each half as large as the one before."""

    def __init__(self, residual: bool = True) -> None:
        super().__init__()
        self.down = nn.Sequential()
        for index, (narrow, wide) in enumerate(zip((INPUT_CHANNELS, *WIDTHS), WIDTHS, strict=False)):
            self.down.add_module(f"res_down_{index}", DownBlock(narrow, wide, residual))
        self.pool = nn.MaxPool2d(2)

    def forward(self, image: Tensor) -> list[Tensor]:
        """Maps of 32, 64, 128 and 256 channels, full resolution first."""
        maps: list[Tensor] = []
        for block in self.down:
            maps.append(block(self.pool(maps[-1]) if maps else image))
        return maps


class UpPass(nn.Module):
    """The maps of every scale to maps of full resolution."""

    def __init__(self, residual: bool = True, concatenation: bool = False) -> None:
        super().__init__()
        self.up = nn.Sequential()
        for index, (narrow, wide) in enumerate(zip(WIDTHS, (*WIDTHS[1:], WIDTHS[-1]), strict=True)):
            self.up.add_module(f"res_up_{index}", UpBlock(wide, narrow, residual, concatenation))
        self.upsample = nn.Upsample(scale_factor=2, mode="nearest")

    def forward(self, maps: Sequence[Tensor], style: Tensor) -> Tensor:
        """32 channels at full resolution; `maps` as the down pass returns them."""
        *blocks, lowest = self.up
        x: Tensor = lowest(maps[-1], maps[-1], style)
        for block, skip in zip(reversed(blocks), reversed(maps[:-1]), strict=True):
            x = block(self.upsample(x), skip, style)
        return x


def style_of(features: Tensor) -> Tensor:
    """Style [batch,256] of a tile: its lowest-resolution maps [batch,256,y,x], averaged and scaled to unit length."""
    mean = features.mean(dim=(2, 3))
    return mean / mean.square().sum(dim=1, keepdim=True).sqrt()


class CPnet(nn.Module):
    """The whole network; 6.6 million parameters.

    Three switches turn it, all together, into a plain U-Net (Extended Data Fig. 2). They are for measuring what each
    part is worth: networks with other than the default settings are not exported.

    Args:
        style: False: the up pass is not told the style.
        residual: False: blocks are chains of the same layers, nothing is added around them.
        concatenation: True: the maps of the down pass are put beside those of the up pass, not added to them.

    The state dict has the 313 tensors of Cellpose 2 and 3. Two of them, of shape (1,), take no part in the computation:
    `diam_mean`, the object diameter in pixels that tiles are scaled to, and `diam_labels`, the mean diameter of the
    objects in the training images as they were.
    """

    def __init__(self, style: bool = True, residual: bool = True, concatenation: bool = False) -> None:
        super().__init__()
        self.style = style
        self.downsample = DownPass(residual)
        self.upsample = UpPass(residual, concatenation)
        self.output = _layer(WIDTHS[0], OUTPUT_CHANNELS, 1)
        self.register_buffer("diam_mean", torch.full((1,), DEFAULT_DIAMETER))
        self.register_buffer("diam_labels", torch.full((1,), DEFAULT_DIAMETER))

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Flows and style of tiles.

        Args:
            image: [batch,2,y,x], cytoplasm and nucleus, normalised; y and x are multiples of eight.

        Returns:
            Maps [batch,3,y,x]: 5 * flow along y, 5 * flow along x, cell-probability logit. Style [batch,256].
        """
        levels = self.downsample(image)
        style = style_of(levels[-1])
        return self.output(self.upsample(levels, style if self.style else torch.zeros_like(style))), style


class Ensemble(nn.Module):
    """Several networks as one: the mean of their maps (Methods, "Test time enhancements"), the style of network 0."""

    def __init__(self, networks: Sequence[CPnet]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Maps [batch,3,y,x] and style [batch,256] of tiles [batch,2,y,x]."""
        maps, styles = zip(*(network(image) for network in self.networks), strict=True)
        return torch.stack(maps).mean(dim=0), styles[0]


class StyleNetwork(nn.Module):
    """The part of a network that its style needs: the down pass."""

    def __init__(self, network: CPnet) -> None:
        super().__init__()
        self.downsample = network.downsample

    def forward(self, image: Tensor) -> Tensor:
        """Style [batch,256] of tiles [batch,2,y,x]."""
        return style_of(self.downsample(image)[-1])
