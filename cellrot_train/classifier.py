"""The lightweight classifier on top of an encoder: one linear map of its features."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LEAST_SPREAD = 0.1  # of a feature, over its mean


class Classifier(nn.Module):
    """Features (N, F) to logits (N, K), through a fixed standardisation.

    The standardisation gives every feature the same chance at the start of training.
    `folded` gives the same map without it.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, feature_size: int, class_count: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(feature_size))
        self.register_buffer("scale", torch.ones(feature_size))
        self.linear = blank_linear(feature_size, class_count)

    @torch.no_grad()
    def standardise(self, features: Tensor) -> None:
        """Measure mean and spread of `features` (N, F), once, before training.

        A feature that hardly varies yet may wake later: it must not then outweigh all
        others, so no spread is taken for less than a tenth of the usual one. Nor for
        less than a tenth of the feature's own size, whose rounding would become
        visible in the probabilities.
        """
        spread, mean = features.std(dim=0), features.mean(dim=0)
        usual = (spread.median() / 10 + 1e-6).expand_as(spread)
        self.mean.copy_(mean)
        self.scale.copy_(spread.maximum(usual).maximum(LEAST_SPREAD * mean.abs()))

    def standard(self, features: Tensor) -> Tensor:
        """Return `features` (N, F) standardised."""
        return (features - self.mean) / self.scale

    def forward(self, features: Tensor) -> Tensor:
        return self.linear(self.standard(features))

    @torch.no_grad()
    def folded(self) -> nn.Linear:
        """Return the same map as one linear layer of the raw features."""
        layer = blank_linear(self.linear.in_features, self.linear.out_features)
        weight = self.linear.weight / self.scale
        layer.weight.copy_(weight)
        layer.bias.copy_(self.linear.bias - weight @ self.mean)
        return layer


def blank_linear(inputs: int, outputs: int) -> nn.Linear:
    """Return a linear layer of zeros: undecided. `outputs` may be 0: no classes."""
    layer = nn.Linear(inputs, 1)  # torch warns of an empty one
    layer.out_features = outputs
    layer.weight = nn.Parameter(torch.zeros(outputs, inputs))
    layer.bias = nn.Parameter(torch.zeros(outputs))
    return layer


def fit_classifier(
    features: Tensor, labels: Tensor, class_count: int, *, l2: float = 1e-4
) -> Classifier:
    """Return the multinomial logistic regression of `labels` (N,) on frozen features.

    Every class weighs the same, however many cells it has. The problem is convex:
    L-BFGS on all cells at once, nothing to tune but `l2`, the weight decay.
    """
    classifier = Classifier(features.shape[1], class_count).to(features.device)
    classifier.standardise(features)
    standard = classifier.standard(features)
    counts = torch.bincount(labels, minlength=class_count).float()
    balance = counts.sum() / (counts.clamp(min=1) * (counts > 0).sum())
    weight, bias = classifier.linear.weight, classifier.linear.bias
    solver = torch.optim.LBFGS(
        [weight, bias], max_iter=200, history_size=20, line_search_fn="strong_wolfe"
    )

    def loss() -> Tensor:
        solver.zero_grad()
        value = F.cross_entropy(classifier.linear(standard), labels, weight=balance)
        value = value + l2 * weight.square().sum()
        value.backward()
        return value

    solver.step(loss)
    return classifier
