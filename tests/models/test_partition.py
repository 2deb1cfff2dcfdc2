import pytest
import torch

from pisr_core.config import RelationConfig
from pisr_core.errors import ConfigError
from pisr_core.models.partition import partitioned

MAPS = torch.tensor([[0.8, 0.4, 0.0, 0.5], [0.4, 0.4, 0.0, 0.0]]).view(1, 2, 1, 4)


def test_a_hard_partition_gives_each_cell_to_the_largest_value_and_to_the_first_of_equals():
    assert partitioned(MAPS, "hard").flatten(1).tolist()[0] == pytest.approx([0.8, 0.4, 0, 0.5, 0, 0, 0, 0])


def test_soft_shares_by_hand():
    # 0.8^2 to 0.4^2 is 4 to 1; equal values share equally; who is alone keeps all.
    soft = partitioned(MAPS, "soft", temperature=0.5)[0, :, 0]
    torch.testing.assert_close(soft, torch.tensor([[0.8 * 0.8, 0.2, 0.0, 0.5], [0.4 * 0.2, 0.2, 0.0, 0.0]]))


def test_soft_shares_near_hard_ones_as_the_temperature_falls():
    maps = torch.rand(2, 5, 6, 7).argsort(dim=1).add(1) / 5
    torch.testing.assert_close(partitioned(maps, "soft", 1e-2), partitioned(maps, "hard"))
    small = partitioned(maps * 1e-6, "soft", 0.05) * 1e6
    torch.testing.assert_close(small, partitioned(maps, "soft", 0.05))


def test_nothing_to_share():
    assert partitioned(MAPS, "none") is MAPS
    for partition in ("hard", "soft"):
        assert partitioned(MAPS[:, :0], partition).shape == (1, 0, 1, 4)
        assert partitioned(torch.zeros_like(MAPS), partition).count_nonzero() == 0


def test_soft_shares_have_finite_gradients():
    maps = MAPS.clone().requires_grad_()
    partitioned(maps, "soft", 0.1)[0, 0].sum().backward()
    assert maps.grad.isfinite().all() and maps.grad.count_nonzero() > 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"partition": "sharp"}, "relation.partition = 'sharp': choose one of none, soft, hard"),
        ({"temperature": 0.0}, "relation.temperature = 0.0"),
        ({"instance_score": 1.0}, "relation.instance_score = 1.0"),
        ({"radius_unit": "pixels"}, "relation.radius_unit = 'pixels'"),
    ],
)
def test_what_means_nothing_is_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        RelationConfig(**settings)
