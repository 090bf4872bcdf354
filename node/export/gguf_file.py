"""`--gguf`: whether a run's model can be one GGUF file, asked before anything is loaded, and the file."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from transformers import AutoConfig, AutoTokenizer

from node.config.sections.policy import EmbeddedPolicyConfig, TextPolicyConfig
from node.export.errors import ExportError
from policies.install_hints import install_extras
from policies.text.loading.library_errors import as_policy_error
from policies.text.memory.configuration import read_configuration
from swarm.errors import ExtraMissing


def require_gguf(
    weights: Path, policy: TextPolicyConfig | EmbeddedPolicyConfig, *, whole: bool, adapter: bool
) -> None:
    """`whole`: the export is a model, not an adapter; `adapter`: the save is one.

    Raises ExportError, ExtraMissing and PolicyError with what stands against it.
    """
    if not whole:
        raise ExportError("--gguf writes whole models, and this run trained an adapter: add --merge")
    if find_spec("gguf") is None:
        raise ExtraMissing(f"--gguf needs the gguf package: {install_extras('gguf')}")
    from policies.text.export.gguf_file import check_gguf

    with as_policy_error(f"cannot read {weights}", "take another checkpoint with --round"):
        tokenizer = AutoTokenizer.from_pretrained(weights, trust_remote_code=False)
        if adapter and isinstance(policy, TextPolicyConfig):
            config = read_configuration(policy.model)
        else:
            config = AutoConfig.from_pretrained(weights, trust_remote_code=False)
    check_gguf(config, tokenizer)


def add_gguf(draft: Path, name: str) -> float:
    """Writes `name`.gguf beside the weights, and gives how far its log-probs are from theirs, in nats."""
    from policies.text.export.gguf_file import write_gguf

    return write_gguf(draft, draft / f"{name}.gguf", name)
