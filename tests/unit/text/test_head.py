"""Our head against softmax written out, and against TRL's kernel."""

from __future__ import annotations

import pytest
import torch
from trl.kernels import ChunkedLogProbFunction

from policies.text import head as module
from policies.text.head import UNCHANGED, LogitChange, score_tokens

CHANGES = [UNCHANGED, LogitChange(0.5), LogitChange(cap=3.0), LogitChange(2.0, 3.0)]
TOKENS, WIDTH, VOCABULARY = 33, 16, 50


def problem(bias: bool) -> tuple[torch.Tensor, torch.nn.Linear, torch.Tensor, torch.Tensor]:
    """Hidden states, head, targets, and the gradient that reaches the log-probs."""
    generator = torch.Generator().manual_seed(0)
    head = torch.nn.Linear(WIDTH, VOCABULARY, bias=bias)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.normal_(generator=generator)
    hidden = torch.randn(TOKENS, WIDTH, generator=generator).requires_grad_()
    targets = torch.randint(VOCABULARY, (TOKENS,), generator=generator)
    return hidden, head, targets, torch.randn(TOKENS, generator=generator)


def written_out(
    hidden: torch.Tensor,
    head: torch.nn.Linear,
    targets: torch.Tensor,
    temperature: float,
    change: LogitChange = UNCHANGED,
) -> tuple[torch.Tensor, torch.Tensor]:
    logits = change.scale * head(hidden)
    if change.cap is not None:
        logits = change.cap * torch.tanh(logits / change.cap)
    table = torch.log_softmax(logits / temperature, -1)
    return table.gather(1, targets[:, None])[:, 0], -(table.exp() * table).sum(-1)


def grads_of(logprobs: torch.Tensor, pull: torch.Tensor, *tensors: torch.Tensor) -> list[torch.Tensor]:
    wanted = [tensor for tensor in tensors if tensor.requires_grad]
    return list(torch.autograd.grad((logprobs * pull).sum(), wanted))


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("trains", ["all", "head", "hidden"])
@pytest.mark.parametrize("kept_bytes", [0, 2**30])
@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize("change", CHANGES)
def test_scores_and_gradients_equal_softmax_written_out(
    bias: bool,
    trains: str,
    kept_bytes: int,
    temperature: float,
    change: LogitChange,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "KEPT_BYTES", kept_bytes)
    monkeypatch.setattr(module, "REUSED_NUMBERS", 7 * VOCABULARY)
    monkeypatch.setattr(module, "CACHED_NUMBERS", 3 * VOCABULARY)
    hidden, head, targets, pull = problem(bias)
    head.requires_grad_(trains != "hidden")
    hidden.requires_grad_(trains != "head")
    expected, expected_entropy = written_out(hidden, head, targets, temperature, change)
    logprobs, entropy = score_tokens(hidden, head, targets, temperature, change)
    torch.testing.assert_close(logprobs, expected)
    torch.testing.assert_close(entropy, expected_entropy)
    assert not entropy.requires_grad
    tensors = (hidden, *head.parameters())
    found, right = grads_of(logprobs, pull, *tensors), grads_of(expected, pull, *tensors)
    assert len(found) == len(right) > 0
    for ours, theirs in zip(found, right, strict=True):
        assert float((ours - theirs).abs().max() / theirs.abs().max()) < 1e-5


def test_a_second_backward_pass_gives_the_same() -> None:
    hidden, head, targets, pull = problem(True)
    logprobs, _ = score_tokens(hidden, head, targets, 1.0)
    loss = (logprobs * pull).sum()
    first = torch.autograd.grad(loss, [hidden, head.weight], retain_graph=True)
    second = torch.autograd.grad(loss, [hidden, head.weight])
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(first, second, strict=True))


@pytest.mark.parametrize("change", CHANGES)
def test_trl_s_kernel_gives_the_same(change: LogitChange) -> None:
    """Which is what runs on CUDA; called here as `score_tokens` calls it there."""
    hidden, head, targets, pull = problem(True)
    arguments = (hidden, head.weight, head.bias, targets, 0.7, module.TRL_TILE, change.cap, change.scale)
    theirs = ChunkedLogProbFunction.apply(*arguments, ("log_probs", "entropy"))
    ours = score_tokens(hidden, head, targets, 0.7, change)
    torch.testing.assert_close(ours[0], theirs[0])
    torch.testing.assert_close(ours[1], theirs[1].detach())
    tensors = (hidden, *head.parameters())
    for mine, other in zip(
        grads_of(ours[0], pull, *tensors), grads_of(theirs[0], pull, *tensors), strict=True
    ):
        torch.testing.assert_close(mine, other)


@pytest.mark.parametrize("trains_head", [False, True])
def test_autocast_multiplies_in_bf16_and_sums_in_fp32(trains_head: bool) -> None:
    hidden, head, targets, pull = problem(True)
    head.requires_grad_(trains_head)
    tensors = (hidden, *head.parameters())
    expected, _ = written_out(hidden, head, targets, 1.0)
    with torch.autocast("cpu", torch.bfloat16):
        logprobs, entropy = score_tokens(hidden, head, targets, 1.0)
    assert logprobs.dtype == entropy.dtype == torch.float32
    assert 1e-4 < float((logprobs - expected).abs().max().detach()) < 0.2
    for ours, theirs in zip(
        grads_of(logprobs, pull, *tensors), grads_of(expected, pull, *tensors), strict=True
    ):
        assert ours.dtype == torch.float32
        assert float((ours - theirs).abs().max() / theirs.abs().max()) < 0.03


def test_a_token_that_is_all_but_certain_keeps_its_gradient_in_bf16() -> None:
    """p rounds to 1 in bf16, while 1 - p = 0.0009 is what pulls."""
    head = torch.nn.Linear(1, 2, bias=False)
    with torch.no_grad():
        head.weight.copy_(torch.tensor([[7.0], [0.0]]))
    hidden = torch.ones(1, 1, dtype=torch.bfloat16, requires_grad=True)
    logprobs, _ = score_tokens(hidden, head, torch.tensor([0]), 1.0)
    (found,) = torch.autograd.grad(logprobs.sum(), head.weight)
    rest = 1 / (1 + torch.tensor(7.0).exp())
    torch.testing.assert_close(found[:, 0], torch.stack([rest, -rest]), rtol=1e-2, atol=0.0)


def test_without_a_gradient_nothing_is_kept() -> None:
    hidden, head, targets, _ = problem(False)
    with torch.no_grad():
        logprobs, _ = score_tokens(hidden, head, targets, 1.0)
    assert logprobs.grad_fn is None
