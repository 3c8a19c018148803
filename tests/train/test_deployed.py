"""The network of the ONNX file: from camera bytes to calibrated answers."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cellrot_train.deployed import Deployed, Shrink
from cellrot_train.encoders.base import AutoEncoder, Encoding
from cellrot_train.novelty import Novelty

PATCH = Path(__file__).parents[1] / "data/patches/monocyte"


class MeanColour(AutoEncoder):
    """The smallest encoder: the mean of each channel; it points to the right."""

    embedding_size = feature_size = 3

    def encode(self, images: Tensor) -> Encoding:
        mean = images.mean(dim=(2, 3))
        return Encoding(mean, mean + 1, torch.tensor([[1.0, 0.0]]).expand(len(mean), 2))

    def decode(self, encoding: Encoding) -> Tensor:
        raise NotImplementedError


@pytest.fixture(scope="module")
def patches() -> NDArray[np.uint8]:
    images = [
        cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR)
        for path in sorted(PATCH.glob("*.webp"))[:3]
    ]
    return np.stack([image[..., ::-1] for image in images if image is not None])


@pytest.mark.parametrize("side_px", [32, 64, 128, 256])
def test_shrinking_averages_areas_as_the_training_data_does(
    patches: NDArray[np.uint8], side_px: int
) -> None:
    size = (side_px, side_px)
    expected = np.stack(
        [
            cv2.resize(p.astype("f4"), size, interpolation=cv2.INTER_AREA)
            for p in patches
        ]
    )

    actual = Shrink(side_px, side_px)(torch.from_numpy(patches.copy()))

    assert np.abs(actual.numpy() - expected.transpose(0, 3, 1, 2)).max() < 1e-3


def test_a_view_is_the_middle_of_the_patch(patches: NDArray[np.uint8]) -> None:
    bytes_ = torch.from_numpy(patches.copy())

    whole, view = Shrink(128, 128)(bytes_), Shrink(128, 96)(bytes_)

    assert torch.equal(view, whole[..., 16:112, 16:112])


def test_a_side_that_does_not_divide_the_patch_is_refused() -> None:
    with pytest.raises(ValueError, match="must divide 256, got 96"):
        Shrink(96, 96)


def test_outputs_follow_the_contract(patches: NDArray[np.uint8]) -> None:
    head = nn.Linear(3, 2)
    novelty = Novelty(torch.eye(3), torch.zeros(2, 3))
    centre = torch.tensor([1.0, 2.0, 3.0])
    network = Deployed(MeanColour(), head, novelty, centre, (64, 64)).eval()

    with torch.inference_mode():
        outputs = network(torch.from_numpy(patches.copy()))
    probabilities, embeddings, distance, angle = outputs

    features = embeddings + 1 - centre
    expected = head(features).softmax(dim=1)
    torch.testing.assert_close(probabilities, expected)
    torch.testing.assert_close(distance, features.norm(dim=1))
    assert angle.tolist() == pytest.approx([0, 0, 0])
