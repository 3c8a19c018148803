"""Networks as they are deployed, of random weights."""

import torch

from cellrot_train.deployed import Deployed
from cellrot_train.encoders import build_encoder
from cellrot_train.novelty import Novelty


def network(encoder: str) -> Deployed:
    """Return the network of a file, for 11 classes, at 64 px."""
    torch.manual_seed(0)
    body = build_encoder(encoder, side_px=64)
    size = body.feature_size
    novelty = Novelty(torch.eye(size), torch.zeros(2, size))
    head = torch.nn.Linear(size, 11)
    return Deployed(body, head, novelty, torch.ones(size), (64, 64)).eval()
