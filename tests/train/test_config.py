"""Settings are checked before anything starts, and written into every run."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellrot_train.augment import STRENGTHS
from cellrot_train.config import MODELS, OBJECTIVES, Config, ConfigError, read_config
from cellrot_train.config import STRENGTHS as STRENGTH_NAMES
from cellrot_train.encoders import ENCODER_NAMES
from cellrot_train.objectives import TERMS


@given(
    st.builds(
        Config,
        model=st.sampled_from(MODELS),
        epochs=st.integers(min_value=0),
        learning_rate=st.floats(min_value=0, allow_nan=False, allow_infinity=False),
        rotate=st.booleans(),
        data=st.text(),
    )
)
def test_settings_survive_a_round_trip(config: Config) -> None:
    assert Config.from_dict(config.to_dict(), "run") == config


def test_a_view_larger_than_the_patch_is_refused() -> None:
    with pytest.raises(ConfigError, match="view_px is 96, expected at most side_px"):
        Config(side_px=64, view_px=96)


def test_an_unknown_setting_is_an_error_that_names_the_nearest(tmp_path: Path) -> None:
    path = tmp_path / "Größe ä.toml"
    path.write_text("learning_rat = 0.1\n", encoding="utf-8")

    with pytest.raises(ConfigError, match="'learning_rat'; did you mean learning_rate"):
        read_config(path, {})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epochs = 1.5", "epochs is 1.5, expected int"),
        ("epochs = true", "epochs is True, expected int"),
        ("epochs = -1", "epochs is -1, expected at least 0"),
        ("ema_decay = 1.5", "ema_decay is 1.5, expected at most 1"),
        ("learning_rate = nan", "learning_rate is nan, expected at least 0"),
        ('model = "resnet"', "model is 'resnet', expected one of baseline, stn"),
        ("seed = 99999999999999999999", "seed is 9{20}, expected at most 1e"),
        ("width = 5000", "width is 5000, expected at most 1024"),
        ("batch_size = 1", "batch_size is 1, expected at least 2"),
        ("side_px = 60", "side_px is 60, expected one of 32, 64"),
        ("epochs = ", "no valid TOML"),
        pytest.param("epochs = " + "[" * 3000, "no valid TOML", id="deep"),
        pytest.param("epochs = " + "1" * 5000, "no valid TOML", id="endless"),
        pytest.param("model = 0x" + "f" * 5000, "too many digits", id="endless hex"),
        pytest.param("epochs = -" + "1" * 400, "at least 0", id="long"),
        pytest.param("ema_decay = " + "1" * 400, "too many digits", id="no float"),
    ],
)
def test_a_wrong_value_is_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "run.toml"
    path.write_text(text, encoding="utf-8")

    with pytest.raises(ConfigError, match=message):
        read_config(path, {})


def test_flags_overrule_the_file_and_the_file_the_defaults(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text("epochs = 7\nseed = 3\n", encoding="utf-8")

    config = read_config(path, {"seed": 4})

    assert (config.epochs, config.seed) == (7, 4)
    assert config.batch_size == Config().batch_size


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.toml: cannot be read"):
        read_config(tmp_path / "none.toml", {})


def test_the_names_that_help_shows_are_those_that_exist() -> None:
    assert sorted(MODELS) == sorted(ENCODER_NAMES)
    assert list(STRENGTH_NAMES) == list(STRENGTHS)
    assert sorted(OBJECTIVES) == sorted(TERMS)
