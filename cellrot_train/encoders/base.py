"""What every encoder gives, whatever it is made of."""

from abc import abstractmethod
from typing import NamedTuple

from torch import Tensor, nn


class Encoding(NamedTuple):
    """What an encoder knows of N images.

    `embedding` (N, D) is what reconstruction and the classifier use; `features` (N, F)
    are pooled invariants of all layers, a richer read-out for a probe; `orientation`
    (N, 2) is the unit vector (cos, sin) of the image's angle, counted from x towards
    -y (counter-clockwise on the screen), or None where the encoder knows no angle.
    """

    embedding: Tensor
    features: Tensor
    orientation: Tensor | None = None


class AutoEncoder(nn.Module):
    """Images (N, 3, S, S) in [-1, 1] to an Encoding and back, in the image's frame."""

    embedding_size: int
    feature_size: int

    @abstractmethod
    def encode(self, images: Tensor) -> Encoding: ...

    @abstractmethod
    def decode(self, encoding: Encoding) -> Tensor: ...

    def forward(self, images: Tensor) -> Tensor:
        """Return the reconstruction of `images`."""
        return self.decode(self.encode(images))
