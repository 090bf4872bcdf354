"""Which token ends a turn: the same in sampling, in encoding and in what is trained on."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from tiny_families import FAMILIES, chatml_kind, gemma_kind, gpt2_kind, phi_kind, policy_of
from tiny_text import problem, tiny_model, tiny_tokenizer
from transformers import GenerationConfig, PreTrainedTokenizerFast

from policies.policy import PolicyError, sample_groups
from policies.rollout import Finish, Group, Rollout, Segment, TrainGroup
from policies.text.chat.settings import PromptSettings
from policies.text.chat.turn_ends import named_ends
from policies.text.encoding import Encoding
from policies.text.policy import TextPolicy
from policies.text.settings import GenerationSettings, TextSettings, TrainerSettings


def ends_of(tokenizer: PreTrainedTokenizerFast, *generation: str) -> tuple[str, set[str], tuple[str, ...]]:
    """The taught end, all stops, and the notes, in words."""
    ids = [tokenizer.convert_tokens_to_ids(token) for token in generation]
    encoding = Encoding(tokenizer, PromptSettings(), 16, generation_eos=ids)
    words = tokenizer.convert_ids_to_tokens
    return words(encoding.ends.taught), set(words(sorted(encoding.ends.stops))), encoding.notes


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_ends_its_turns_as_its_template_does(name: str) -> None:
    policy, tokenizer = policy_of(name), FAMILIES[name].tokenizer()
    end = tokenizer.convert_tokens_to_ids(FAMILIES[name].end)
    assert policy.encode("12", Finish.STOP) == (*policy.encode("12", Finish.LENGTH), end)
    differ = tokenizer.eos_token_id != end
    assert any("turns end with" in note for note in policy.notes) is differ


def test_a_templates_end_is_found_where_nobody_else_names_it() -> None:
    taught, stops, notes = ends_of(gemma_kind(), "<eos>")
    assert (taught, stops) == ("<end_of_turn>", {"<end_of_turn>", "<eos>"})
    assert "'<end_of_turn>' by the chat template; '<eos>' by the generation config" in notes[0]


def test_the_first_of_several_tokens_behind_a_turn_is_its_end() -> None:
    assert ends_of(phi_kind())[:2] == ("<|end|>", {"<|end|>", "<|endoftext|>"})


def test_a_generation_config_may_name_one_or_several() -> None:
    model = tiny_model()
    for named, stops in ((1, {1}), ([1, 3], {1, 3}), (None, {1})):
        model.generation_config = GenerationConfig(eos_token_id=named)
        settings = TextSettings(generation=GenerationSettings(max_new_tokens=16))
        policy = TextPolicy(model, tiny_tokenizer(), settings)
        assert policy._encoding.ends.stops == stops
        assert policy.encode("4", Finish.STOP)[-1] == 1


@pytest.mark.parametrize("named", ["x", [1, "x"], -1, True, 2.5])
def test_an_end_that_is_no_token_is_told(named: object) -> None:
    with pytest.raises(PolicyError, match="which is no token: copy or download the file again"):
        named_ends(SimpleNamespace(eos_token_id=named))  # type: ignore[arg-type]


def test_without_a_template_the_tokenizers_end_is_taught_unless_the_model_is_said_to_end_otherwise() -> None:
    assert ends_of(gpt2_kind()) == ("<|endoftext|>", {"<|endoftext|>"}, ())
    tokenizer = chatml_kind("<|endoftext|>")
    tokenizer.chat_template = None
    taught, stops, notes = ends_of(tokenizer, "<|im_end|>")
    assert (taught, stops) == ("<|im_end|>", {"<|im_end|>", "<|endoftext|>"})
    assert "no control token by the chat template" in notes[0]


def test_a_template_that_always_begins_a_new_turn_does_not_name_that_as_the_end() -> None:
    tokenizer = chatml_kind()
    turn = "{{ '<think>' + m['role'] + m['content'] + '\n' }}"
    tokenizer.chat_template = f"{{% for m in messages %}}{turn}{{% endfor %}}{{{{ '<|im_start|>' }}}}"
    assert ends_of(tokenizer)[0] == "<|im_end|>", "the tokenizer's"


def test_sampling_stops_at_every_end_and_none_is_in_the_text() -> None:
    settings = TextSettings(generation=GenerationSettings(max_new_tokens=16))
    model = tiny_model()
    model.generation_config = GenerationConfig(eos_token_id=[1, 12])
    policy = TextPolicy(model, tiny_tokenizer(), settings)
    rollouts = sample_groups(policy, [problem("1+2=")], 60, seed=0)[0].rollouts
    ended = [rollout.token_ids for rollout in rollouts if rollout.finish is Finish.STOP]
    assert {ids[-1] for ids in ended} == {1, 12}
    assert all(not {1, 12} & set(ids[:-1]) for ids in ended)
    spelt = tiny_tokenizer().convert_ids_to_tokens(12)
    assert not any(spelt in rollout.text for rollout in rollouts)


def test_learning_from_peers_leaves_the_right_end_likely() -> None:
    """Thirty updates on right answers ended as the tokenizer says took the template's end from 0.996 to 0.017."""
    settings = TextSettings(
        generation=GenerationSettings(max_new_tokens=16), trainer=TrainerSettings(learning_rate=1e-2)
    )
    tokenizer = tiny_tokenizer()
    tokenizer.eos_token = "<|pad|>"
    policy = TextPolicy(tiny_model(), tokenizer, settings)

    def likelihood() -> float:
        ids = [*policy._encoding.prompt("1+2="), *policy.encode("3", Finish.LENGTH)]
        with torch.no_grad():
            return float(policy._model(input_ids=torch.tensor([ids])).logits[0, -1].softmax(-1)[1])

    before = likelihood()
    texts = ("3", "9", "3", "7")
    rollouts = tuple(
        Rollout(text, (Segment(-1, policy.encode(text, Finish.STOP)),), Finish.STOP) for text in texts
    )
    batch = [TrainGroup(Group(problem("1+2="), rollouts, "peer"), (1.0, -1.0, 1.0, -1.0))]
    for _ in range(30):
        policy.update(batch)
    assert likelihood() > max(0.3, before)
