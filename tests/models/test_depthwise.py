import copy

import pytest
import torch
from torch import nn

from pisr_core.models.depthwise import DepthwiseConv2d


@pytest.mark.parametrize(
    ("kernel_size", "dilation", "size"),
    [
        (3, 1, (7, 9)),
        (5, 1, (7, 9)),
        (5, 1, (2, 3)),
        (3, 2, (7, 9)),
        (3, 6, (4, 13)),
        (3, 18, (16, 32)),
        (5, 3, (7, 20)),
    ],
)
@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_results_and_gradients_are_those_of_torch(kernel_size, dilation, size, layout):
    ours = DepthwiseConv2d(6, kernel_size, dilation).to(memory_format=layout)
    plain = nn.Conv2d(6, 6, kernel_size, 1, dilation * (kernel_size // 2), dilation, groups=6, bias=False).double()
    plain.load_state_dict(ours.state_dict())
    maps = torch.randn(2, 6, *size).contiguous(memory_format=layout).requires_grad_()
    exact = maps.detach().double().requires_grad_()
    result, expected = ours(maps), plain(exact)
    assert result.is_contiguous(memory_format=layout)
    gradient = torch.randn_like(result)
    result.backward(gradient)
    expected.backward(gradient.double())
    for found, wanted in [(result, expected), (maps.grad, exact.grad), (ours.weight.grad, plain.weight.grad)]:
        torch.testing.assert_close(found.double(), wanted, rtol=1e-5, atol=1e-5)


def test_what_only_padding_reaches_costs_nothing_and_learns_nothing():
    conv = DepthwiseConv2d(1, 3, dilation=4)
    maps = torch.randn(1, 1, 3, 5)  # no row but the middle one reaches, and its ends from the outer columns alone
    conv(maps).sum().backward()
    expected = torch.zeros(3, 3)
    expected[1] = torch.tensor([maps[..., 0].sum(), maps.sum(), maps[..., 4].sum()])
    torch.testing.assert_close(conv.weight.grad[0, 0], expected)


def test_a_bias_that_a_norm_left_is_added():
    conv = DepthwiseConv2d(3, 3, dilation=2)
    maps = torch.randn(1, 3, 6, 6)
    without = conv(maps)
    conv.bias = nn.Parameter(torch.tensor([1.0, 2.0, 3.0]))
    torch.testing.assert_close(conv(maps), without + torch.tensor([1.0, 2.0, 3.0])[:, None, None])


@pytest.mark.parametrize("dilation", [1, 2])
def test_other_types_take_torchs_way(dilation):
    conv = DepthwiseConv2d(4, 5, dilation)
    maps = torch.randn(1, 4, 9, 9)
    with torch.autocast("cpu", torch.bfloat16):
        assert conv(maps.bfloat16()).dtype == torch.bfloat16
    double = copy.deepcopy(conv).double()
    torch.testing.assert_close(double(maps.double()).float(), conv(maps), rtol=1e-5, atol=1e-5)
