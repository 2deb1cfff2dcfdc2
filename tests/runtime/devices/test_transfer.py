import torch

from pisr_core.runtime.devices.transfer import ALIGNMENT, _bytes, to_host


def test_a_row_of_bytes_begins_each_tensor_at_a_multiple_and_gives_it_back():
    for tensor in (torch.arange(5), torch.tensor(True), torch.rand(3, 2).T, torch.zeros(0, 2), torch.tensor([3, 4, 5])):
        row = _bytes(tensor)
        assert row.dtype == torch.uint8 and len(row) % ALIGNMENT == 0
        size = tensor.numel() * tensor.element_size()
        assert torch.equal(row[:size].view(tensor.dtype).view(tensor.shape), tensor)
        assert not row[size:].any()


def test_on_the_cpu_nothing_is_copied():
    tensor = torch.ones(2)
    assert to_host() == [] and to_host(tensor)[0] is tensor
