"""Eight laboratories that do not exist: how the same cells would look elsewhere.

Each look is fixed, and made by other code than the changes that training draws: dyes
in other strengths (in optical density), another lamp, another lens, another file.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import cv2
import numpy as np

from cellrot_infer.types import Floats, Patches

# Absorption of red, green and blue by azure B and eosin Y on film (Ruifrok and
# Johnston 2001 give them for haematoxylin and eosin; azure is close to the former).
AZURE = (0.65, 0.70, 0.29)
EOSIN = (0.07, 0.99, 0.11)
WHITE = 245.0  # level of clear glass in the laboratory of the data


@dataclass(frozen=True, slots=True)
class Look:
    """A laboratory: what it does to light.

    `azure` and `eosin` are factors of the dyes' density, `lamp` the share of red, green
    and blue that its light and camera pass, `gamma` the camera's curve, `blur_px` a
    Gaussian's deviation, `magnification` that of the cell, `noise` a deviation in
    levels, `jpeg` the quality of the file (0: not compressed).
    """

    azure: float = 1.0
    eosin: float = 1.0
    lamp: tuple[float, float, float] = (1.0, 1.0, 1.0)
    gamma: float = 1.0
    blur_px: float = 0.0
    magnification: float = 1.0
    noise: float = 0.0
    jpeg: int = 0

    def __call__(self, patches: Patches) -> Patches:
        """Return `patches` (N, 256, 256, 3) as this laboratory would show them."""
        return np.stack([self._one(patch, seed) for seed, patch in enumerate(patches)])

    def _one(self, patch: Patches, seed: int) -> Patches:
        light = self._stained(self._magnified(patch).astype(np.float32))
        if self.blur_px:
            light = cv2.GaussianBlur(light, (0, 0), self.blur_px).astype(np.float32)
        levels = 255 * np.clip(light / 255, 0, 1) ** self.gamma
        levels += np.random.default_rng(seed).normal(0, self.noise or 1e-9, patch.shape)
        return self._filed(np.clip(levels, 0, 255).round().astype(np.uint8))

    def _magnified(self, patch: Patches) -> Patches:
        side = patch.shape[0]
        middle = (side - 1) / 2
        matrix = cv2.getRotationMatrix2D((middle, middle), 0, self.magnification)
        size = (side, side)
        shown = cv2.warpAffine(
            patch, matrix, size, None, cv2.INTER_CUBIC, cv2.BORDER_REFLECT_101
        )
        return shown.astype(np.uint8)

    def _stained(self, levels: Floats) -> Floats:
        """Change the two dyes' densities; what neither explains stays as it is."""
        density = -np.log((levels + 1) / (WHITE + 1))
        dyes = np.array([AZURE, EOSIN], np.float32)
        amounts = density @ np.linalg.pinv(dyes).astype(np.float32)
        added = amounts * np.array([self.azure - 1, self.eosin - 1], np.float32)
        changed: Floats = (WHITE + 1) * np.exp(-(density + added @ dyes)) - 1
        return changed * np.array(self.lamp, np.float32)

    def _filed(self, levels: Patches) -> Patches:
        if not self.jpeg:
            return levels
        quality = (cv2.IMWRITE_JPEG_QUALITY, self.jpeg)
        _, file = cv2.imencode(".jpg", levels[..., ::-1], quality)
        shown = cv2.imdecode(file, cv2.IMREAD_COLOR)
        assert shown is not None
        return shown[..., ::-1].astype(np.uint8)


LOOKS: Mapping[str, Callable[[Patches], Patches]] = {
    "pale": Look(azure=0.6, eosin=0.6),
    "overstained": Look(azure=1.5, eosin=1.4),
    "pink": Look(azure=0.8, eosin=1.6, lamp=(1.0, 0.95, 0.96)),
    "blue": Look(azure=1.35, eosin=0.6, lamp=(0.92, 0.96, 1.0)),
    "yellow lamp": Look(lamp=(1.0, 0.93, 0.72), gamma=1.1),
    "green-grey camera": Look(azure=0.85, lamp=(0.78, 0.9, 0.8), gamma=0.85, noise=4),
    "soft, compressed": Look(blur_px=2.5, jpeg=40),
    "other magnification": Look(magnification=1.25, lamp=(0.95, 1, 0.95), noise=6),
}
