"""What the options of Cellpose 3.1 are called here: the hints of the client to callers who use Cellpose's names."""

from __future__ import annotations

from dataclasses import dataclass

_PLANES = (
    "Planes are counted from 0: Cellpose's channels=[2, 3] is cytoplasm_channel=1, nucleus_channel=2; a first 0 is "
    "cytoplasm_channel=-1, the mean of all planes; a second 0 is nucleus_channel=-1, none"
)
_SERVER = "nothing to set: the server decides"


@dataclass(frozen=True, slots=True)
class CellposeName:
    """An option of Cellpose that has another name here, or none.

    Attributes:
        ours: Parameters and options that take its place. Empty if there are none.
        hint: How to translate a value. "" if the value stays the same.
    """

    ours: tuple[str, ...] = ()
    hint: str = ""

    def __str__(self) -> str:
        names = " and ".join(self.ours)
        return f"use {names}" + (f". {self.hint}" if self.hint else "") if names else self.hint


CELLPOSE_NAMES = {
    "channels": CellposeName(("cytoplasm_channel", "nucleus_channel"), _PLANES),
    "chan": CellposeName(("cytoplasm_channel",), _PLANES),
    "chan2": CellposeName(("nucleus_channel",), _PLANES),
    "channel_axis": CellposeName(("axes",), "One letter per axis: channel_axis=0 is axes='CYX'"),
    "z_axis": CellposeName(("axes",), "One letter per axis: z_axis=0 is axes='ZYX'"),
    "do_3D": CellposeName(("stack_mode",), "do_3D=True is stack_mode='volume'"),
    "flow3D_smooth": CellposeName((), "view_smoothing smooths each view across its sections"),
    "flow_thresh": CellposeName(("flow_threshold",)),
    "cellprob_thresh": CellposeName(("cellprob_threshold",)),
    "mask_threshold": CellposeName(("cellprob_threshold",)),
    "diam": CellposeName(("diameter",)),
    "diam_mean": CellposeName(("diameter",), "Pixels of the image; the scale of the networks belongs to the model"),
    "rescale": CellposeName(
        ("diameter",), "rescale=r is diameter=30/r for a model whose working diameter is 30 pixels"
    ),
    "net_avg": CellposeName(("ensemble",)),
    "interp": CellposeName(
        ("interpolation",), "interp=True is interpolation='bilinear', interp=False is interpolation='nearest'"
    ),
    "normalize": CellposeName(
        ("normalization",),
        "normalize=True is the default; normalize=False is normalization='off'; normalize={'percentile': [2, 98]} is "
        "normalization='percentiles:2,98'; normalize={'lowhigh': [100, 4000]} is normalization='range:100,4000'",
    ),
    "invert": CellposeName(("normalization",), "invert=True is normalization=Normalization(invert=True)"),
    "model_type": CellposeName(("model",), "client.models() lists the models of the server"),
    "pretrained_model": CellposeName(("model",), "client.models() lists the models of the server"),
    "compute_masks": CellposeName(("maps_only",), "compute_masks=False is maps_only=True"),
    "resample": CellposeName((), "nothing to set: masks always have the size of the image"),
    "batch_size": CellposeName((), _SERVER),
    "bsize": CellposeName((), _SERVER),
    "tile": CellposeName((), _SERVER),
    "gpu": CellposeName((), _SERVER),
    "use_gpu": CellposeName((), _SERVER),
    "device": CellposeName((), _SERVER),
    "progress": CellposeName((), "segment_many yields each result as it is ready"),
}
"""By Cellpose's name. Options with the same name in both are not listed."""
