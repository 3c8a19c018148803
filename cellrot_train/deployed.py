"""Everything after the crop as one network: what the ONNX file computes."""

import torch
from torch import Tensor, nn

from cellrot_infer.types import PATCH_SIDE_PX
from cellrot_train.encoders.base import AutoEncoder
from cellrot_train.encoders.hnet import HarmonicEncoder, InvariantCode
from cellrot_train.intake import Intake
from cellrot_train.layers.folding import folded
from cellrot_train.novelty import Novelty


class Shrink(nn.Module):
    """Average bytes (N, 256, 256, 3) over squares, to floats (N, 3, V, V) in [0, 255].

    The whole patch would have `side_px` pixels; the central V = `view_px` are taken.
    Rows are summed where they lie and columns by a small matrix product, so that only
    the small image is ever transposed: ten times faster in ONNX Runtime than
    transposing first and pooling after.
    """

    mix: Tensor  # (3 * step, 3)

    def __init__(self, side_px: int, view_px: int) -> None:
        super().__init__()
        if PATCH_SIDE_PX % side_px:
            raise ValueError(f"side_px must divide {PATCH_SIDE_PX}, got {side_px}")
        self.view_px, self.step = view_px, PATCH_SIDE_PX // side_px
        mix = torch.eye(3).repeat(self.step, 1) / self.step**2
        self.register_buffer("mix", mix, persistent=False)

    def forward(self, patches: Tensor) -> Tensor:
        count, side, step = patches.shape[0], self.view_px, self.step
        margin = (PATCH_SIDE_PX - side * step) // 2
        if margin:
            patches = patches[:, margin:-margin, margin:-margin]
        rows = patches.float().reshape(count, side, step, 3 * side * step).sum(dim=2)
        pixels = rows.reshape(count, side * side, 3 * step) @ self.mix
        return pixels.transpose(1, 2).reshape(count, 3, side, side)


class InDouble(nn.Module):
    """The code of order 0 in float64, where that costs hardly anything.

    It is a small difference of large sums over a map, in an order that the angle sets.
    The weights are widened as they are used: the file keeps them as they were.
    """

    def __init__(self, code: nn.Module) -> None:
        super().__init__()
        self.code = code

    def forward(self, streams: Tensor) -> tuple[Tensor, None]:
        weights = (*self.code.named_parameters(), *self.code.named_buffers())
        wide = {name: value.double() for name, value in weights}
        code, _ = torch.func.functional_call(self.code, wide, streams.double())
        return code.float(), None


class Deployed(nn.Module):
    """Bytes (N, 256, 256, 3) RGB to the outputs of the contract, in their order.

    `head` and `novelty` read the features less their `centre` (F,): where large numbers
    differ little, rounding would show in the probabilities. `sides_px` are those of the
    whole patch, made smaller, and of the view at its middle.

    `probabilities` (N, K), calibrated; `embeddings` (N, D); `novelty` (N,); and
    `orientation_rad` (N,) in (-pi, pi], counter-clockwise, where the encoder has one.
    """

    centre: Tensor

    def __init__(
        self,
        encoder: AutoEncoder,
        head: nn.Linear,
        novelty: Novelty,
        centre: Tensor,
        sides_px: tuple[int, int],
    ) -> None:
        super().__init__()
        self.shrink, self.intake = Shrink(*sides_px), Intake(sides_px[1])
        self.encoder, self.novelty = folded(encoder), novelty
        if isinstance(self.encoder, HarmonicEncoder):
            self.encoder.code = exactly(self.encoder.code)
        self.head = head
        self.register_buffer("centre", centre)

    def forward(self, patches: Tensor) -> tuple[Tensor, ...]:
        encoding = self.encoder.encode(self.intake(self.shrink(patches)))
        centred = encoding.features - self.centre
        probabilities = self.head(centred).softmax(dim=1)
        outputs = (probabilities, encoding.embedding, self.novelty(centred))
        if encoding.orientation is None:
            return outputs
        return *outputs, _angle_rad(encoding.orientation)


def exactly(code: nn.Module) -> nn.Module:
    """Return `code` with sums that do not show the angle, where that is cheap."""
    return InDouble(code) if isinstance(code, InvariantCode) else code


def _angle_rad(vector: Tensor) -> Tensor:
    """Return the angle (N,) of unit vectors (N, 2), to a fraction of a milliradian.

    By half of it, which takes half as many operators as `atan2` has in ONNX.
    """
    cosine, sine = vector.split(1, dim=1)
    half = torch.atan((sine + 1e-20) / (1 + cosine + 1e-30))
    return 2 * half.flatten()
