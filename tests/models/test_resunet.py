"""ResUNet: blocks by level, and what is refused."""

import pytest
from pydantic import ValidationError

from emdenoise.models.contract import Ports
from emdenoise.models.heads import HEADS
from emdenoise.models.resunet import ResUNetSettings, build_resunet
from emdenoise.models.tiling import check_reach

PORTS = Ports({"noisy": 1}, 1, HEADS["intensity"])


def test_more_blocks_at_one_level_add_their_weights_and_no_others() -> None:
    few, many = ResUNetSettings(filters=(4, 6)), ResUNetSettings(filters=(4, 6), blocks=(1, 3))
    # Two more blocks of two convolutions of 3 × 3 without bias, each with four numbers of normalisation a filter.
    added = 2 * 2 * (3 * 3 * 6 * 6 + 4 * 6)
    assert build_resunet(many, PORTS).model.count_params() == build_resunet(few, PORTS).model.count_params() + added


def test_the_reach_of_blocks_by_level_is_the_measured_one() -> None:
    check_reach(build_resunet(ResUNetSettings(filters=(2, 3), stem_px=1, blocks=(1, 2)), PORTS))


def test_one_number_of_blocks_is_this_number_at_each_level() -> None:
    one, listed = (build_resunet(ResUNetSettings(filters=(2, 3), blocks=blocks), PORTS) for blocks in (2, (2, 2)))
    assert (one.reach_px, one.model.count_params()) == (listed.reach_px, listed.model.count_params())


def test_blocks_that_do_not_belong_to_the_levels_are_refused() -> None:
    with pytest.raises(ValidationError, match="blocks has 3 numbers and filters has 2 levels"):
        ResUNetSettings(filters=(4, 6), blocks=(1, 1, 1))
