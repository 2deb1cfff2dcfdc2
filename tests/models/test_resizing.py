import pytest
import torch

from pisr_core.models import resizing
from pisr_core.models.resizing import output_bands, to_output_size


@pytest.mark.parametrize("values", [1, 700, 10**6])
@pytest.mark.parametrize(
    ("input_size", "output_size"),
    [((40, 64), (40, 64)), ((37, 61), (37, 61)), ((37, 61), (80, 100)), ((37, 61), (20, 31)), ((5, 64), (90, 7))],
)
def test_bands_are_the_rows_of_the_whole(monkeypatch, values, input_size, output_size):
    monkeypatch.setattr(resizing, "CPU_BAND", values)
    maps = torch.randn(3, 10, 16)
    bands = list(output_bands(maps, input_size, output_size))
    whole = to_output_size(maps, input_size, output_size)
    torch.testing.assert_close(torch.cat(bands, dim=1), whole, rtol=0, atol=2e-6)
    if input_size == output_size:
        assert torch.equal(torch.cat(bands, dim=1), whole)
    assert (len(bands) == 1) == (values == 10**6)
