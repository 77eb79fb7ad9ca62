"""Transformers from configurations small enough to be run a thousand times.

Numbers are pairwise different, so that an axis which is taken for another one shows. The standard deviation of fresh weights is of the
order of 1/sqrt(width), not the 0.02 which suits widths of a thousand: with that, attention would be uniform whatever its weights are.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from . import torchvision_ops
from .recipe import Input, Recipe

torchvision_ops.declare()

_VOCABULARY = 100
_STD = 0.15
_BERT = {
    "vocab_size": _VOCABULARY,
    "hidden_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 80,
    "max_position_embeddings": 40,
    "initializer_range": _STD,
}
_LLAMA = _BERT | {"num_key_value_heads": 2, "head_dim": 12, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
_VIT = {
    "hidden_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 80,
    "image_size": 32,
    "patch_size": 8,
    "num_labels": 10,
    "initializer_range": _STD,
}
_CLIP = {
    "hidden_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 80,
    "projection_dim": 36,
}
_TEXT = (Input("input_ids", ("N", "T"), _VOCABULARY),)
_IMAGE = (Input("pixel_values", ("N", 3, 32, 32)),)


class Output(nn.Module):
    """A model with one tensor out: the exporters know neither its output class nor its keyword arguments.

    Args:
        model: Of transformers.
        argument: The name of its first input.
        key: The output to give.
        fixed: Keyword arguments.
        ones: Pass a mask of ones. Without a mask, decoders look for packed sequences in the positions, by `aten::diff`, which the legacy
            exporter cannot write.
    """

    def __init__(self, model: nn.Module, argument: str, key: str, fixed: dict[str, Any], ones: bool) -> None:
        super().__init__()
        self.model, self.argument, self.key, self.fixed, self.ones = model, argument, key, fixed, ones

    def forward(self, x: torch.Tensor, *mask: torch.Tensor) -> torch.Tensor:
        """The output named `key`."""
        masks = {"attention_mask": mask[0]} if mask else {"attention_mask": torch.ones_like(x)} if self.ones else {}
        return self.model(**{self.argument: x}, **masks, **self.fixed)[self.key]


@dataclass(frozen=True)
class _Kind:
    """What it takes to build one model."""

    model: str
    config: str
    options: dict[str, Any]
    inputs: tuple[Input, ...] = _TEXT
    key: str = "logits"
    axes: dict[int, str] = field(default_factory=lambda: {0: "N", 1: "T"})
    attention: str | None = "sdpa"
    fixed: dict[str, Any] = field(default_factory=dict)
    ones: bool = False


_CACHELESS = {"use_cache": False}
_PER_MODEL = {0: "N"}


def _language(model: str, config: str, options: dict[str, Any], **more: Any) -> _Kind:
    return _Kind(model, config, options, fixed=_CACHELESS, ones=True, **more)


_KINDS: dict[str, _Kind] = {
    "bert": _Kind("BertForMaskedLM", "BertConfig", _BERT, attention="eager"),
    "bert_sdpa": _Kind("BertForMaskedLM", "BertConfig", _BERT),
    "bert_classifier": _Kind(
        "BertForSequenceClassification", "BertConfig", _BERT | {"num_labels": 5}, attention="eager", axes=_PER_MODEL
    ),
    "bert_masked": _Kind(
        "BertModel",
        "BertConfig",
        _BERT,
        inputs=(*_TEXT, Input("attention_mask", ("N", "T"), 2)),
        key="last_hidden_state",
        attention="eager",
    ),
    "distilbert": _Kind(
        "DistilBertForSequenceClassification",
        "DistilBertConfig",
        {
            "vocab_size": _VOCABULARY,
            "dim": 48,
            "n_layers": 2,
            "n_heads": 4,
            "hidden_dim": 80,
            "max_position_embeddings": 40,
            "initializer_range": _STD,
            "num_labels": 5,
        },
        axes=_PER_MODEL,
    ),
    "roberta": _Kind("RobertaForMaskedLM", "RobertaConfig", _BERT),
    "albert": _Kind("AlbertForMaskedLM", "AlbertConfig", _BERT | {"embedding_size": 28, "num_hidden_layers": 3}),
    "electra": _Kind("ElectraForPreTraining", "ElectraConfig", _BERT | {"embedding_size": 28}),
    "gpt2": _language(
        "GPT2LMHeadModel",
        "GPT2Config",
        {
            "vocab_size": _VOCABULARY,
            "n_embd": 48,
            "n_layer": 2,
            "n_head": 4,
            "n_inner": 80,
            "n_positions": 40,
            "initializer_range": _STD,
            "bos_token_id": 1,
            "eos_token_id": 2,
        },
    ),
    "gpt_neox": _language("GPTNeoXForCausalLM", "GPTNeoXConfig", _BERT | {"rotary_pct": 0.5}),
    "opt": _language(
        "OPTForCausalLM",
        "OPTConfig",
        {
            "vocab_size": _VOCABULARY,
            "hidden_size": 48,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "ffn_dim": 80,
            "word_embed_proj_dim": 28,
            "max_position_embeddings": 40,
            "init_std": _STD,
        },
    ),
    "llama": _language("LlamaForCausalLM", "LlamaConfig", _LLAMA, attention="eager"),
    "llama_sdpa": _language("LlamaForCausalLM", "LlamaConfig", _LLAMA),
    "llama_masked": _language(
        "LlamaForCausalLM",
        "LlamaConfig",
        _LLAMA,
        inputs=(*_TEXT, Input("attention_mask", ("N", "T"), 2)),
        attention="eager",
    ),
    "mistral": _language("MistralForCausalLM", "MistralConfig", _LLAMA),
    "qwen2": _language("Qwen2ForCausalLM", "Qwen2Config", _LLAMA),
    "qwen3": _language("Qwen3ForCausalLM", "Qwen3Config", _LLAMA),
    "gemma": _language("GemmaForCausalLM", "GemmaConfig", _LLAMA | {"head_dim": 16}),
    "phi": _language("PhiForCausalLM", "PhiConfig", _BERT | {"pad_token_id": 0}),
    "vit": _Kind("ViTForImageClassification", "ViTConfig", _VIT, _IMAGE, axes=_PER_MODEL),
    "deit": _Kind("DeiTForImageClassification", "DeiTConfig", _VIT, _IMAGE, axes=_PER_MODEL, attention="eager"),
    "swin": _Kind(
        "SwinForImageClassification",
        "SwinConfig",
        {
            "image_size": 32,
            "patch_size": 2,
            "embed_dim": 24,
            "depths": [2, 2],
            "num_heads": [2, 3],
            "window_size": 4,
            "num_labels": 10,
            "initializer_range": _STD,
        },
        _IMAGE,
        axes=_PER_MODEL,
    ),
    "t5_encoder": _Kind(
        "T5EncoderModel",
        "T5Config",
        {"vocab_size": _VOCABULARY, "d_model": 48, "d_kv": 12, "d_ff": 80, "num_layers": 2, "num_heads": 4},
        key="last_hidden_state",
        attention="eager",
    ),
    "whisper_encoder": _Kind(
        "WhisperModel",
        "WhisperConfig",
        {
            "d_model": 48,
            "encoder_layers": 2,
            "encoder_attention_heads": 4,
            "encoder_ffn_dim": 80,
            "decoder_layers": 1,
            "decoder_attention_heads": 4,
            "vocab_size": _VOCABULARY,
            "num_mel_bins": 20,
            "max_source_positions": 30,
            "init_std": _STD,
            "pad_token_id": 0,
            "bos_token_id": 1,
            "eos_token_id": 2,
            "decoder_start_token_id": 1,
        },
        (Input("input_features", ("N", 20, 60)),),
        key="last_hidden_state",
        axes=_PER_MODEL,
    ),
    "wav2vec2": _Kind(
        "Wav2Vec2ForCTC",
        "Wav2Vec2Config",
        {
            "vocab_size": 33,
            "hidden_size": 48,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "intermediate_size": 80,
            "conv_dim": [20, 24, 28],
            "conv_stride": [5, 2, 2],
            "conv_kernel": [10, 3, 2],
            "num_conv_pos_embeddings": 16,
            "num_conv_pos_embedding_groups": 2,
            "initializer_range": _STD,
        },
        (Input("input_values", ("N", 800)),),
        axes=_PER_MODEL,
    ),
    "clip_text": _Kind(
        "CLIPTextModelWithProjection",
        "CLIPTextConfig",
        # Its output is read at the last of the largest token ids, so the sequence ends with one.
        _CLIP
        | {
            "vocab_size": _VOCABULARY,
            "max_position_embeddings": 40,
            "pad_token_id": 0,
            "bos_token_id": 1,
            "eos_token_id": 2,
        },
        key="text_embeds",
        axes=_PER_MODEL,
    ),
    "clip_vision": _Kind(
        "CLIPVisionModelWithProjection",
        "CLIPVisionConfig",
        _CLIP | {"image_size": 32, "patch_size": 8},
        _IMAGE,
        key="image_embeds",
        axes=_PER_MODEL,
    ),
    "convnextv2": _Kind(
        "ConvNextV2ForImageClassification",
        "ConvNextV2Config",
        {
            "hidden_sizes": [16, 24, 36, 44],
            "depths": [1, 1, 2, 1],
            "image_size": 64,
            "num_labels": 10,
            "initializer_range": _STD,
        },
        (Input("pixel_values", ("N", 3, 64, 64)),),
        axes=_PER_MODEL,
        attention=None,
    ),
    "segformer": _Kind(
        "SegformerForSemanticSegmentation",
        "SegformerConfig",
        {
            "depths": [1, 1, 2, 1],
            "hidden_sizes": [16, 24, 36, 44],
            "num_attention_heads": [1, 2, 3, 4],
            "decoder_hidden_size": 28,
            "num_labels": 10,
            "initializer_range": _STD,
        },
        (Input("pixel_values", ("N", 3, 64, 64)),),
        axes=_PER_MODEL,
    ),
}
_DYNAMO = "bert gpt2 llama llama_sdpa vit t5_encoder".split()
_ENCODERS: dict[str, Callable[[nn.Module], nn.Module]] = {"whisper_encoder": lambda model: model.encoder}


def members() -> list[str]:
    """Names, with the variants, without the family."""
    return [*_KINDS, *(f"{name}@dynamo" for name in _DYNAMO)]


def recipe(name: str) -> Recipe:
    """A model of transformers in evaluation mode, without a cache."""
    kind = _KINDS[name]
    transformers = importlib.import_module("transformers")
    attention = {"attn_implementation": kind.attention} if kind.attention else {}
    config = getattr(transformers, kind.config)(**kind.options, **attention)
    model = getattr(transformers, kind.model)(config).eval()
    model = _ENCODERS.get(name, lambda whole: whole)(model)
    module = Output(model, kind.inputs[0].name, kind.key, kind.fixed, kind.ones)
    return Recipe(module, kind.inputs, {kind.key: kind.axes})
