"""Each objective rewards what it is for; an objective is a sum of terms."""

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cellrot_train.classifier import Classifier, fit_classifier
from cellrot_train.config import Config, ConfigError
from cellrot_train.encoders.base import Encoding
from cellrot_train.objectives import (
    TERMS,
    Batch,
    Learner,
    Sight,
    freeze_unused,
    parse_objective,
    turn,
    turn_vector,
    views,
)
from cellrot_train.pixels import Pixels
from cellrot_train.run import new_encoder

CLASSES = 11


@pytest.fixture
def batch(pixels: Pixels) -> Batch:
    chance = torch.rand(16, 8, generator=torch.Generator().manual_seed(0))
    labels = torch.from_numpy(pixels.patch_set.labels)[::24][:16]
    disc = torch.tensor([[0.0, 0.0, 1.0]]).repeat(16, 1)
    angle_rad = 6 * chance[:, 7] - 3
    images = pixels.images[::24][:16].float()
    return Batch(0, images, labels, disc, angle_rad, chance)


def learner(config: Config, objective: str, model: str = "hnet-r2") -> Learner:
    torch.manual_seed(0)
    config = replace(config, objective=objective, model=model)
    return Learner(new_encoder(config), CLASSES, config)


def sight(
    batch: Batch, features: Tensor | None = None, orientation: Tensor | None = None
) -> Sight:
    """Return a sight whose encoding a test can set; its embedding tells nothing."""
    features = torch.zeros(16, 8) if features is None else features
    return Sight(
        batch.images, Encoding(torch.zeros(16, 8), features, orientation), batch
    )


def gradients(module: nn.Module) -> list[Tensor]:
    return [p.grad for p in module.parameters() if p.grad is not None]


def test_an_objective_is_a_sum_of_weighted_terms() -> None:
    assert parse_objective("supervised + 0.5*reconstruction") == {
        "supervised": 1.0,
        "reconstruction": 0.5,
    }
    assert parse_objective("0.5*joint+masked") == {
        "supervised": 0.5,
        "contrastive": 0.5,
        "masked": 1.0,
    }


@pytest.mark.parametrize("text", ["", "supervized", "x*supervised", "-1*supervised"])
def test_a_term_that_does_not_exist_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="objective has"):
        parse_objective(text)


def test_only_comparing_terms_need_two_views() -> None:
    assert views(parse_objective("supervised+reconstruction")) == 1
    assert views(parse_objective("supervised+0.1*contrastive")) == 2


@pytest.mark.parametrize("term", TERMS)
def test_every_term_is_finite_and_teaches_the_encoder(
    tiny: Config, batch: Batch, term: str
) -> None:
    pupil = learner(tiny, term)
    nn.init.normal_(pupil.classifier.linear.weight, std=3)  # sure of something

    terms = pupil(batch)
    terms["loss"].backward()

    assert terms[term].isfinite()
    found = gradients(pupil.encoder)
    assert sum(gradient.abs().sum().item() for gradient in found) > 0


def test_the_loss_is_the_weighted_sum(tiny: Config, batch: Batch) -> None:
    terms = learner(tiny, "supervised+0.25*reconstruction")(batch)

    expected = terms["supervised"] + 0.25 * terms["reconstruction"]
    assert terms["loss"].item() == pytest.approx(expected.item())


def test_without_labels_in_the_objective_they_teach_a_probe_only(
    tiny: Config, batch: Batch
) -> None:
    pupil, alone = (learner(tiny, "reconstruction") for _ in range(2))
    terms = pupil(batch)
    terms["loss"].backward()
    alone(batch._replace(labels=torch.full((16,), -1)))["loss"].backward()

    assert terms["loss"] == terms["reconstruction"]
    assert pupil.classifier.linear.weight.grad is not None
    assert gradients(pupil.encoder)
    pairs = zip(gradients(pupil.encoder), gradients(alone.encoder), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)


def test_unknown_labels_weigh_nothing(tiny: Config, batch: Batch) -> None:
    pupil = learner(tiny, "supervised")
    nn.init.normal_(pupil.classifier.linear.weight)
    labels = torch.where(torch.arange(16) < 8, batch.labels, -1)

    half = batch._replace(labels=labels)
    first = Batch(0, *(entry[:8] for entry in batch[1:]))

    assert pupil(half)["supervised"].item() == pytest.approx(
        pupil(first)["supervised"].item(), rel=1e-4
    )
    assert pupil(half._replace(labels=torch.full((16,), -1)))["supervised"] == 0


def test_contrast_is_least_where_views_agree_and_cells_differ(
    tiny: Config, batch: Batch
) -> None:
    pupil = learner(tiny, "contrastive")
    pupil.classifier, pupil.projector = Classifier(8, CLASSES), nn.Identity()
    cells, others = torch.eye(8), torch.eye(8).roll(1, dims=0)

    def value(first: Tensor, second: Tensor) -> float:
        seen = sight(batch, torch.cat([first, second]))
        return TERMS["contrastive"](pupil, seen).item()

    assert value(cells, cells) < value(cells, others)
    assert value(cells, cells) < value(torch.ones(8, 8), torch.ones(8, 8))
    alike = 14 * math.exp(-1 / tiny.temperature)
    assert value(cells, cells) == pytest.approx(math.log1p(alike), rel=1e-4)


def test_variance_punishes_collapse_distance_and_redundancy(
    tiny: Config, batch: Batch
) -> None:
    pupil = learner(tiny, "variance")
    pupil.classifier, pupil.projector = Classifier(8, CLASSES), nn.Identity()
    noise = torch.randn(8, 8, generator=torch.Generator().manual_seed(0))
    apart = 3 * torch.linalg.qr(noise - noise.mean(dim=0))[0]

    def value(first: Tensor, second: Tensor) -> float:
        return TERMS["variance"](pupil, sight(batch, torch.cat([first, second]))).item()

    best = value(apart, apart)
    assert value(apart, apart.roll(1, dims=0)) > best + 0.1
    assert value(0 * apart, 0 * apart) > best + 0.1
    redundant = apart[:, :1].repeat(1, 8)
    assert value(redundant, redundant) > best + 0.1


def test_consistency_follows_only_what_the_other_view_is_sure_of(
    tiny: Config, batch: Batch
) -> None:
    pupil = learner(tiny, "consistency")
    seen = sight(batch)

    def value(first: Tensor, second: Tensor) -> float:
        features = torch.cat([first, second])
        pupil.classifier = nn.Identity()  # type: ignore[assignment]
        encoding = seen.encoding._replace(features=features)
        return TERMS["consistency"](pupil, seen._replace(encoding=encoding)).item()

    sure, unsure = 9 * F.one_hot(torch.arange(8)).float(), torch.zeros(8, 8)
    assert value(unsure, unsure) == 0
    assert value(sure, sure) < 0.01
    assert value(sure, sure.roll(1, dims=0)) > 8


def test_a_turned_image_asks_for_a_turned_angle(tiny: Config, batch: Batch) -> None:
    """An encoder that tells the true angle has no loss; one that turns back has."""
    pupil = learner(tiny, "orientation")
    before = F.normalize(batch.chance[:, :2] - 0.5, dim=1)
    part = slice(0, 4)

    def value(sign: int) -> float:
        after = turn_vector(before[part], sign * batch.angle_rad[part])
        pupil.encoder.encode = lambda images: Encoding(  # type: ignore[method-assign]
            images, images, after
        )
        seen = sight(batch, orientation=before)
        return TERMS["orientation"](pupil, seen).item()

    assert value(1) == pytest.approx(0, abs=1e-5)
    assert value(-1) > 0.1


def test_turning_images_and_vectors_agree_on_the_direction() -> None:
    image = torch.zeros(1, 1, 9, 9)
    image[0, 0, 4, 8] = 1  # points along x
    quarter = torch.tensor([math.pi / 2])

    turned = turn(image, quarter)[0, 0]

    assert turned[0, 4] > 0.99  # up on the screen: towards -y
    assert torch.allclose(
        turn_vector(torch.tensor([[1.0, 0.0]]), quarter),
        torch.tensor([[0.0, 1.0]]),
        atol=1e-6,
    )


def test_an_encoder_without_orientation_is_refused(tiny: Config, batch: Batch) -> None:
    with pytest.raises(ConfigError, match="hnet-r0 knows no orientation"):
        learner(tiny, "orientation", "hnet-r0")(batch)


def test_what_the_objective_never_reaches_is_frozen(tiny: Config, batch: Batch) -> None:
    pupil = learner(tiny, "supervised")
    freeze_unused(pupil, batch)

    trained = [p.requires_grad for p in pupil.parameters()]
    assert any(trained)
    assert not all(trained)
    pupil(batch)["loss"].backward()
    assert all((p.grad is not None) == p.requires_grad for p in pupil.parameters())


def blobs(count: int) -> tuple[Tensor, Tensor]:
    chance = torch.Generator().manual_seed(0)
    labels = torch.randint(3, (count,), generator=chance)
    centres = 10 * torch.randn(3, 6, generator=chance)
    scale = torch.tensor([1, 1, 1, 100, 0.01, 1])
    features = centres[labels] + torch.randn(count, 6, generator=chance)
    return features * scale, labels


def test_the_fitted_classifier_separates_what_can_be_separated() -> None:
    features, labels = blobs(300)

    classifier = fit_classifier(features[:200], labels[:200], 3)

    assert (classifier(features[200:]).argmax(dim=1) == labels[200:]).all()


def test_folding_the_standardisation_changes_nothing() -> None:
    features, _ = blobs(50)
    classifier = Classifier(6, 4)
    classifier.standardise(features)
    nn.init.normal_(classifier.linear.weight)

    folded = classifier.folded()(features)

    assert (folded - classifier(features)).abs().max() < 1e-4


def test_a_feature_that_wakes_late_does_not_outweigh_the_others() -> None:
    features, _ = blobs(50)
    classifier = Classifier(6, 4)
    classifier.standardise(features * torch.tensor([1, 1, 1, 0, 0, 1]))
    nn.init.ones_(classifier.linear.weight)

    before = classifier(torch.zeros(1, 6))
    after = classifier(torch.tensor([[0, 0, 0, 1.0, 0, 0]]))
    assert (after - before).abs().max() < 20


def test_the_rounding_of_a_feature_that_hardly_varies_stays_invisible() -> None:
    features, labels = blobs(300)
    features[:, 1] = 50 + features[:, 1] / 10
    classifier = fit_classifier(features, labels, 3)
    step = torch.tensor([0, 50 * 1e-6, 0, 0, 0, 0])

    before, after = classifier(features), classifier(features + step)

    assert (after - before).abs().max() < 5e-5
