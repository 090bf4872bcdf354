"""The text policy through the Policy seam."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError
from tiny_text import SPECIAL, mixed_batch, problem, tiny_model, tiny_tokenizer

from policies.advantage import group_relative
from policies.policy import Policy, PolicyError, RolloutRequest, sample_groups
from policies.rollout import Finish, Group, Rollout, Segment, TrainGroup
from policies.text.chat.settings import PromptSettings
from policies.text.encoding import Encoding
from policies.text.model import attach_lora
from policies.text.policy import TextPolicy
from policies.text.settings import GenerationSettings, LoraSettings, TextSettings, TrainerSettings

PROBLEMS = [problem("1+2="), problem("sort 528314")]


def policy_of(*, adapter: bool = False, seed: int = 0, **trainer: object) -> TextPolicy:
    model: torch.nn.Module = tiny_model()
    if adapter:
        model = attach_lora(tiny_model(), LoraSettings(rank=4, dropout=0.3), seed=0)
    settings = TextSettings(
        generation=GenerationSettings(max_new_tokens=16),
        trainer=TrainerSettings.model_validate({"learning_rate": 1e-2, **trainer}),
    )
    return TextPolicy(model, tiny_tokenizer(), settings, seed=seed)


def weights(policy: TextPolicy) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in policy._model.state_dict().items()}


def scored(group: Group) -> TrainGroup:
    rewards = [float(sum(rollout.token_ids) % 7) for rollout in group.rollouts]
    return TrainGroup(group, group_relative(rewards))


def one_round(policy: TextPolicy, seed: int) -> None:
    policy.update([scored(group) for group in sample_groups(policy, PROBLEMS, 6, seed)])


def test_generate_gives_groups_of_the_current_version() -> None:
    policy: Policy = policy_of()
    policy.update(mixed_batch())
    groups = sample_groups(policy, PROBLEMS, 5, seed=1)
    assert [group.problem for group in groups] == PROBLEMS
    for rollout in (rollout for group in groups for rollout in group.rollouts):
        assert [segment.policy_version for segment in rollout.segments] == [1]
        assert rollout.logprobs is not None
        assert rollout.reward is None
        assert (rollout.token_ids[-1] == 1) is (rollout.finish is Finish.STOP)
        assert not any(token in rollout.text for token in SPECIAL)
    assert [len(group.rollouts) for group in groups] == [5, 5]
    assert sample_groups(policy, [], 5, seed=1) == []


def test_generated_text_encodes_to_the_tokens_that_were_sampled() -> None:
    """What a peer would send back: equal unless the policy wrote a control token in the middle."""
    policy = policy_of()
    found = 0
    for rollout in sample_groups(policy, PROBLEMS, 40, seed=2)[0].rollouts:
        if rollout.text and not {0, 2, 3, 4} & set(rollout.token_ids):
            assert policy.encode(rollout.text, rollout.finish) == rollout.token_ids
            found += 1
    assert found > 5


def test_a_fresh_rollout_starts_at_ratio_one() -> None:
    policy = policy_of(epsilon_low=1e-4, epsilon_high=1e-4)
    report = policy.update([scored(group) for group in sample_groups(policy, PROBLEMS, 20, seed=3)])
    assert report.clipped_share < 0.02
    stale = sample_groups(policy, PROBLEMS, 20, seed=4)
    policy.update(mixed_batch())
    assert policy.update([scored(group) for group in stale]).clipped_share > 0.2


@pytest.mark.parametrize("adapter", [False, True])
def test_a_policy_that_trains_in_bf16_samples_in_it(adapter: bool) -> None:
    reference = tiny_model()
    prompt = Encoding(tiny_tokenizer(), PromptSettings(), 16).prompt(PROBLEMS[0].prompt)

    def rounding(bf16: bool) -> float:
        errors = []
        for rollout in sample_groups(policy_of(adapter=adapter, bf16=bf16), PROBLEMS, 8, seed=0)[0].rollouts:
            with torch.no_grad():
                logits = reference(input_ids=torch.tensor([[*prompt, *rollout.token_ids]])).logits[0]
            exact = torch.log_softmax(logits[len(prompt) - 1 : -1], -1)
            chosen = exact.gather(1, torch.tensor(rollout.token_ids)[:, None])[:, 0]
            errors.append(float((chosen - torch.tensor(rollout.logprobs)).abs().mean()))
        return sum(errors) / len(errors)

    assert rounding(bf16=False) < 1e-5
    assert 1e-2 < rounding(bf16=True) < 0.5  # weights far from uniform round by much


def test_a_partial_goes_on_where_it_was_with_one_segment_a_version() -> None:
    policy = policy_of()
    requests = [RolloutRequest(PROBLEMS[0], key) for key in range(12)]
    polls = 0

    def third(finished: Sequence[int]) -> bool:
        nonlocal polls
        polls += 1
        return polls % 3 == 0

    def resumed(rollouts: list[Rollout]) -> list[Rollout]:
        going = [i for i, rollout in enumerate(rollouts) if rollout.finish is Finish.UNFINISHED]
        assert going
        asked = [replace(requests[i], begun=rollouts[i]) for i in going]
        ended = dict(zip(going, policy.sample(asked, stop=third), strict=True))
        return [ended.get(i, rollout) for i, rollout in enumerate(rollouts)]

    whole = policy.sample(requests)
    parts = resumed(policy.sample(requests, stop=third))
    policy.update(mixed_batch())
    parts = resumed(parts)
    for rollout, part in zip(whole, parts, strict=True):
        versions = [segment.policy_version for segment in part.segments]
        assert versions in ([0], [0, 1])
        assert part.segments[0].token_ids == rollout.token_ids[: len(part.segments[0].token_ids)]
        assert part.logprobs is not None and len(part.logprobs) == len(part.token_ids)
    assert any(len(part.segments) == 2 and part.finish is not Finish.UNFINISHED for part in parts)


def test_held_out_problems_are_sampled_as_their_settings_say() -> None:
    settings = TextSettings.model_validate(
        {"generation": {"max_new_tokens": 16, "held_out": {"temperature": 0.0}}}
    )
    policy = TextPolicy(tiny_model(), tiny_tokenizer(), settings)
    assert len(set(sample_groups(policy, PROBLEMS[:1], 8, 0, held_out=True)[0].rollouts)) == 1
    assert len(set(sample_groups(policy, PROBLEMS[:1], 8, 0)[0].rollouts)) == 8


def test_the_report_counts_what_was_trained_on() -> None:
    policy = policy_of(token_budget=90)
    batch = mixed_batch()
    report = policy.update(batch)
    rollouts = [rollout for member in batch for rollout in member.group.rollouts]
    assert report.rollouts == len(rollouts) == 17
    assert report.tokens == sum(len(rollout.token_ids) for rollout in rollouts)
    assert report.micro_batches == 5
    assert report.learning_rate == 1e-2
    assert report.grad_norm > 0


def test_the_end_token_is_trained_when_it_was_sampled() -> None:
    """A group whose rollouts differ only in where they stop: stopping early is rewarded, and learned."""
    policy = policy_of()
    encoding = Encoding(tiny_tokenizer(), PromptSettings(), 16)
    context = torch.tensor([[*encoding.prompt("1+2="), *encoding.completion("3", Finish.LENGTH)]])

    def stopping() -> float:
        with torch.no_grad():
            return float(torch.softmax(policy._model(input_ids=context).logits[0, -1], -1)[1])

    before = stopping()
    for _ in range(5):
        rollouts = tuple(
            Rollout(text, (Segment(0, policy.encode(text, finish)),), finish)
            for text, finish in (("3", Finish.STOP), ("33", Finish.LENGTH))
        )
        policy.update([TrainGroup(Group(PROBLEMS[0], rollouts), (1.0, -1.0))])
    assert stopping() > 2 * before


def test_the_version_counts_updates_that_changed_the_weights() -> None:
    policy = policy_of(warmup_steps=2)
    before = weights(policy)
    policy.update(mixed_batch())
    assert policy.version == 0
    assert all(torch.equal(value, before[name]) for name, value in weights(policy).items())
    policy.update(mixed_batch())
    assert policy.version == 1
    assert not all(torch.equal(value, before[name]) for name, value in weights(policy).items())


@pytest.mark.parametrize("adapter", [False, True])
def test_saved_and_loaded_training_goes_on_bit_for_bit(tmp_path: Path, adapter: bool) -> None:
    """The adapter has dropout, so that the random state matters."""
    settings = {"adapter": adapter, "scheduler": "linear", "schedule_steps": 6}
    straight = policy_of(**settings)
    for seed in range(5):
        one_round(straight, seed)

    interrupted = policy_of(**settings)
    for seed in range(2):
        one_round(interrupted, seed)
    interrupted.save(tmp_path)

    torch.manual_seed(99)
    resumed = policy_of(**settings)
    resumed.load(tmp_path)
    assert resumed.version == 2
    for seed in range(2, 5):
        one_round(resumed, seed)

    assert resumed.version == straight.version == 5
    ours, theirs = weights(resumed), weights(straight)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert sample_groups(resumed, PROBLEMS, 3, 9) == sample_groups(straight, PROBLEMS, 3, 9)


def test_an_adapter_is_saved_without_the_model_below(tmp_path: Path) -> None:
    policy = policy_of(adapter=True)
    policy.save(tmp_path)
    files = {file.name for file in (tmp_path / "weights").iterdir()}
    assert "adapter_model.safetensors" in files
    assert "model.safetensors" not in files


def test_a_save_of_another_policy_is_refused(tmp_path: Path) -> None:
    policy_of().save(tmp_path)
    progress = torch.load(tmp_path / "progress.pt", weights_only=True)
    torch.save({**progress, "fingerprint": "llama-1-deadbeef"}, tmp_path / "progress.pt")
    with pytest.raises(PolicyError, match=r"saved by llama-1-deadbeef.*resume with the configuration"):
        policy_of().load(tmp_path)


@pytest.mark.parametrize("damage", ["missing", "garbage", "pickle"])
def test_a_damaged_save_is_refused(tmp_path: Path, damage: str) -> None:
    policy = policy_of()
    policy.save(tmp_path)
    file = tmp_path / "progress.pt"
    if damage == "missing":
        file.unlink()
    elif damage == "garbage":
        file.write_bytes(b"not a checkpoint")
    else:
        torch.save({"fingerprint": _Hostile()}, file)
    with pytest.raises(PolicyError, match=r"progress\.pt cannot be read"):
        policy.load(tmp_path)


class _Hostile:
    """Unpickles by calling a function."""

    def __reduce__(self) -> tuple[object, ...]:
        return (pytest.fail, ("the pickle was run",))


def test_missing_weights_are_refused(tmp_path: Path) -> None:
    policy = policy_of()
    policy.save(tmp_path)
    (tmp_path / "weights" / "model.safetensors").unlink()
    with pytest.raises(PolicyError, match="holds no weights for this policy"):
        policy.load(tmp_path)


@pytest.mark.parametrize(
    ("saved", "resumed", "why"),
    [
        (LoraSettings(rank=4), None, "trains all weights"),
        (None, LoraSettings(rank=4), "adapter_model.safetensors"),
        (LoraSettings(rank=4), LoraSettings(rank=8), "size mismatch"),
        (LoraSettings(target_modules=("q_proj",)), LoraSettings(), "other layers"),
        (LoraSettings(), LoraSettings(target_modules=("q_proj",)), "other layers"),
    ],
)
def test_an_adapter_that_does_not_fit_is_refused(
    tmp_path: Path, saved: LoraSettings | None, resumed: LoraSettings | None, why: str
) -> None:
    def build(lora: LoraSettings | None) -> TextPolicy:
        model = tiny_model()
        return TextPolicy(attach_lora(model, lora, 0) if lora else model, tiny_tokenizer(), TextSettings())

    build(saved).save(tmp_path)
    with pytest.raises(PolicyError, match=rf"holds no weights for this policy.*{why}"):
        build(resumed).load(tmp_path)


def test_the_fingerprint_names_architecture_size_and_tokenizer() -> None:
    fingerprint = policy_of().fingerprint
    assert fingerprint == policy_of(seed=5).fingerprint == policy_of(adapter=True).fingerprint
    assert fingerprint.isascii()
    assert len(fingerprint) <= 64
    kind, count, tokenizer = fingerprint.split("-")
    assert kind == "qwen2"
    assert int(count) == tiny_model().num_parameters()
    assert len(tokenizer) == 8


def test_control_tokens_in_a_peers_text_stay_characters() -> None:
    policy = policy_of()
    for text in ("<|end|>", "4<|end|>", "<|assistant|>9"):
        ids = policy.encode(text, Finish.LENGTH)
        assert len(ids) == len(text)
        assert min(ids) >= len(SPECIAL)
        assert policy.encode(text, Finish.STOP) == (*ids, 1)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "empty completion"),
        ("7 €", "control token"),
        ("\ud800", "surrogates"),
    ],
)
def test_text_that_no_policy_could_have_written_is_refused(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        policy_of().encode(text, Finish.STOP)


def test_encode_is_unmoved_by_other_threads_and_by_the_main_tokenizer() -> None:
    encoding = Encoding(tiny_tokenizer(), PromptSettings(system="be brief"), 64)
    text = "4<|end|>"
    expected = encoding.completion(text, Finish.STOP)
    with ThreadPoolExecutor(4) as threads:
        encoded = [threads.submit(encoding.completion, text, Finish.STOP) for _ in range(200)]
        prompts = {encoding.prompt("1+2=") for _ in range(200)}
    assert {future.result() for future in encoded} == {expected}
    assert len(prompts) == 1


def test_prompts_take_the_chat_template_or_go_plain() -> None:
    tokenizer = tiny_tokenizer()
    ids = Encoding(tokenizer, PromptSettings(), 8).prompt("1+2=")
    assert tokenizer.decode(ids) == "<|user|>1+2=<|end|><|assistant|>"
    with_system = tokenizer.decode(Encoding(tokenizer, PromptSettings(system="sum"), 8).prompt("1"))
    assert with_system.endswith("sum<|end|><|user|>1<|end|><|assistant|>")
    tokenizer.chat_template = None
    plain = tokenizer.encode("Question: 1+2=\nAnswer:", add_special_tokens=False)
    assert list(Encoding(tokenizer, PromptSettings(), 8).prompt("1+2=")) == plain


def test_a_tokenizer_without_an_end_is_refused_where_nothing_else_names_one() -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.eos_token = None
    assert Encoding(tokenizer, PromptSettings(), 8).ends.taught == 1, "the template names it"
    tokenizer.chat_template = None
    assert Encoding(tokenizer, PromptSettings(), 8, generation_eos=[1]).ends.taught == 1
    with pytest.raises(PolicyError, match="no end-of-sequence token"):
        Encoding(tokenizer, PromptSettings(), 8)


def test_a_budget_that_no_rollout_fits_into_is_refused_before_the_first_round() -> None:
    settings = TextSettings(generation=GenerationSettings(max_new_tokens=200, memory_gb=1e-5))
    with pytest.raises(
        PolicyError, match=r"200 new tokens .* the budget is 0 MB: raise generation\.memory_gb"
    ):
        TextPolicy(tiny_model(), tiny_tokenizer(), settings)


def test_a_full_disk_while_saving_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "progress.pt").symlink_to("/dev/full")
    with pytest.raises(PolicyError, match=r"see whether the disk is full|no space left") as raised:
        policy_of().save(tmp_path)
    assert "\n" not in str(raised.value)

    def full(*_: object, **__: object) -> None:
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr("transformers.modeling_utils.safe_save_file", full)
    with pytest.raises(PolicyError, match="weights: no space left on the disk"):
        policy_of().save(tmp_path)
