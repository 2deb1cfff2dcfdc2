import logging
import os
import warnings

import pytest
import torch

from pisr_core.runtime.devices.arithmetic import arithmetic, describe_arithmetic

MESSAGE = "{} does not have a deterministic implementation, but you set 'torch.use_deterministic_algorithms(True)'"


def switches():
    return (
        torch.backends.cudnn.allow_tf32,
        torch.backends.cuda.matmul.allow_tf32,
        torch.are_deterministic_algorithms_enabled(),
    )


@pytest.mark.parametrize(
    ("tf32", "expected"), [("none", (False, False)), ("convolutions", (True, False)), ("all", (True, True))]
)
def test_what_is_set_is_set_back(monkeypatch, tf32, expected):
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    before = switches()
    with pytest.raises(ValueError), arithmetic(tf32, deterministic=tf32 == "all"):
        assert switches() == (*expected, tf32 == "all")
        assert torch.is_deterministic_algorithms_warn_only_enabled() == (tf32 == "all")
        assert ("CUBLAS_WORKSPACE_CONFIG" in os.environ) == (tf32 == "all")
        raise ValueError
    assert switches() == before and not torch.is_deterministic_algorithms_warn_only_enabled()


def test_operations_that_cannot_be_repeated_are_named_once(caplog):
    with caplog.at_level(logging.WARNING, "pisr_core"), pytest.warns(UserWarning, match="something else") as others:
        with arithmetic("none", deterministic=True):
            for name in ("nll_loss2d_cuda", "bincount_cuda", "nll_loss2d_cuda"):
                warnings.warn(MESSAGE.format(name), stacklevel=1)
            warnings.warn("something else", stacklevel=1)
    assert [record.message.split()[0] for record in caplog.records] == ["nll_loss2d_cuda", "bincount_cuda"]
    assert len(others) == 1


def test_precision_is_said_in_words():
    cuda, cpu = torch.device("cuda"), torch.device("cpu")
    with arithmetic("none"):
        assert describe_arithmetic(cuda, "fp32") == "fp32 without TF32"
        assert describe_arithmetic(cpu, "fp32") == "fp32" and describe_arithmetic(cuda, "bf16") == "bf16"
    with arithmetic("convolutions"):
        assert describe_arithmetic(cuda, "fp32") == "fp32, convolutions in TF32, matrix products without"
