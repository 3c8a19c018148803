"""From a code back to an image; the same for all four encoders."""

from torch import Tensor, nn

from cellrot_train.intake import disc
from cellrot_train.layers.sizes import halvings


class Decoder(nn.Module):
    """Paint images (N, 3, S, S), 0 outside the disc, from codes (N, D).

    Transposed 4x4 convolutions of stride 2 reach every pixel equally often, so they
    leave no chequerboard. Nearly all of the time of an auto-encoder is its encoder's.
    """

    mask: Tensor

    def __init__(self, embedding_size: int, side_px: int, channels: int = 40) -> None:
        super().__init__()
        steps = halvings(side_px, least=4)
        start = side_px >> steps
        layers: list[nn.Module] = [
            nn.Linear(embedding_size, channels * start**2),
            nn.Unflatten(1, (channels, start, start)),
        ]
        for step in range(steps):
            inputs, outputs = (
                max(8, channels >> max(0, k - 1)) for k in (step, step + 1)
            )
            last = step == steps - 1
            layers += [
                nn.ReLU(),
                nn.ConvTranspose2d(inputs, 3 if last else outputs, 4, 2, padding=1),
            ]
        self.layers = nn.Sequential(*layers)
        self.register_buffer("mask", disc(side_px), persistent=False)

    def forward(self, code: Tensor) -> Tensor:
        return self.layers(code) * self.mask
