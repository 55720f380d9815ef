"""Makes small models with random weights, as folders of Hugging Face's: a Llama, an adapter for it, an embedder, and
one that sees.

    python tests/vllm/models.py FOLDER

Runs in vLLM's environment, without a network, in seconds. What they write means nothing; that they are run as any other
model is what counts.
"""

import json
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    Idefics3Config,
    Idefics3ForConditionalGeneration,
    Idefics3Processor,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    Qwen3Config,
    Qwen3ForCausalLM,
)
from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil

TEXT, ADAPTER, EMBEDDER, SEEING = "tiny-llama", "tiny-lora", "tiny-embedder", "tiny-idefics"
CONTEXT = 1024
WIDTH, LAYERS, RANK = 128, 2, 8
NAMES = ("<|pad|>", "<|begin|>", "<|im_start|>", "<|im_end|>")
LINES = (
    "A worker takes a job from the queue, and the caller reads the answer while it is written.",
    "Which of the two rivers is longer, and by how many kilometres? Neither of them is short.",
    '{"name": "Ada", "born": 1815, "fields": ["mathematics", "computing"], "alive": false}',
    "0 1 2 3 4 5 6 7 8 9 + - * / = ( ) [ ] { } < > . , : ; ! ?",
)
TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


SIDE, PATCH, SHRINK = 28, 7, 2
"""Pixels of an image and of a patch of it; so many patches in a row and column become one token."""
AROUND, IMAGE = "<fake_token_around_image>", "<image>"
IMAGE_NAMES = (AROUND, IMAGE, "<global-img>", "<end_of_utterance>")
PARTS_TEMPLATE = TEMPLATE.replace(
    "{{ message['content'] }}",
    "{% for part in message['content'] %}{% if part['type'] == 'text' %}{{ part['text'] }}{% endif %}{% endfor %}",
)
"""As Idefics' own, it prints the parts of a content alone."""


def tokenizer() -> PreTrainedTokenizerFast:
    """Pairs of bytes learned from `LINES`, and the control tokens of ChatML."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=512,
        min_frequency=1,
        special_tokens=list(NAMES),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator(LINES, trainer)
    pad, begin, _, end = NAMES
    made.post_processor = processors.TemplateProcessing(f"{begin} $A", special_tokens=[(begin, NAMES.index(begin))])
    return PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token=pad, bos_token=begin, eos_token=end, chat_template=TEMPLATE
    )


def shape(vocabulary: PreTrainedTokenizerFast) -> dict[str, Any]:
    """What both architectures are told."""
    return {
        "vocab_size": len(vocabulary),
        "hidden_size": WIDTH,
        "intermediate_size": 2 * WIDTH,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "head_dim": WIDTH // 2,
        "max_position_embeddings": CONTEXT,
        "pad_token_id": vocabulary.pad_token_id,
        "bos_token_id": vocabulary.bos_token_id,
        "eos_token_id": vocabulary.eos_token_id,
        "initializer_range": 0.2,
        "tie_word_embeddings": False,
    }


def seeing(folder: Path) -> None:
    """A model with eyes: an image is four tokens, and what stands around them."""
    vocabulary = tokenizer()
    vocabulary.add_special_tokens({"additional_special_tokens": list(IMAGE_NAMES)})
    about = Idefics3Config(
        vision_config={
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "image_size": SIDE,
            "patch_size": PATCH,
        },
        text_config={"model_type": "llama", **shape(vocabulary)},
        image_token_id=vocabulary.convert_tokens_to_ids(IMAGE),
        pad_token_id=vocabulary.pad_token_id,
        scale_factor=SHRINK,
        tie_word_embeddings=False,
    )
    model = Idefics3ForConditionalGeneration(about)
    keep_to_ascii(model.model.text_model.embed_tokens, model.lm_head, vocabulary)
    model.to(torch.bfloat16).save_pretrained(folder)
    size = {"longest_edge": SIDE}
    pixels = Idefics3ImageProcessorPil(size=size, max_image_size=size, do_image_splitting=False)
    tokens = (SIDE // PATCH // SHRINK) ** 2
    Idefics3Processor(pixels, vocabulary, image_seq_len=tokens, chat_template=PARTS_TEMPLATE).save_pretrained(folder)


def keep_to_ascii(embedding: Any, head: Any, vocabulary: PreTrainedTokenizerFast) -> None:
    """Let it write whole characters: no bytes of others, and no control tokens but the end.

    The first number of each token's embedding stays large on its way through the layers; by it these lose.
    """
    texts = [vocabulary.decode([token]) for token in range(len(vocabulary))]
    silent = [token for token, text in enumerate(texts) if not text.isascii() or text in NAMES or text in IMAGE_NAMES]
    silent.remove(vocabulary.eos_token_id)
    with torch.no_grad():
        embedding.weight[:, 0] = 10.0
        head.weight[:, 0] = 0.0
        head.weight[silent, 0] = -10.0


def adapter(folder: Path, base: Path) -> None:
    """A LoRA adapter strong enough to change what the model writes."""
    folder.mkdir(parents=True, exist_ok=True)
    random = torch.Generator().manual_seed(1)
    weights = {
        f"base_model.model.model.layers.{layer}.self_attn.{part}.lora_{side}.weight": torch.randn(
            *((RANK, WIDTH) if side == "A" else (WIDTH, RANK)), generator=random
        )
        for layer in range(LAYERS)
        for part in ("q_proj", "v_proj")
        for side in "AB"
    }
    save_file(weights, folder / "adapter_model.safetensors")
    about = {
        "peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": str(base), "r": RANK, "bias": "none",
        "lora_alpha": 8 * RANK, "lora_dropout": 0.0, "target_modules": ["q_proj", "v_proj"], "inference_mode": True,
    }  # fmt: skip
    (folder / "adapter_config.json").write_text(json.dumps(about))


def main(folder: Path) -> None:
    """Make all of them below `folder`."""
    torch.manual_seed(0)
    vocabulary = tokenizer()
    made = {
        TEXT: LlamaForCausalLM(LlamaConfig(**shape(vocabulary))),
        EMBEDDER: Qwen3ForCausalLM(Qwen3Config(**shape(vocabulary))),
    }
    for name, model in made.items():
        keep_to_ascii(model.model.embed_tokens, model.lm_head, vocabulary)
        model.to(torch.bfloat16).save_pretrained(folder / name)
        vocabulary.save_pretrained(folder / name)
    pooled(folder / EMBEDDER)
    seeing(folder / SEEING)
    adapter(folder / ADAPTER, folder / TEXT)


def pooled(folder: Path) -> None:
    """Say, as sentence-transformers does, that a text's vector is its last token's."""
    kinds = ("Transformer", ""), ("Pooling", "1_Pooling"), ("Normalize", "2_Normalize")
    parts = [
        {"idx": at, "name": str(at), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for at, (kind, path) in enumerate(kinds)
    ]
    (folder / "modules.json").write_text(json.dumps(parts))
    (folder / "1_Pooling").mkdir()
    about = {"word_embedding_dimension": WIDTH, "pooling_mode_lasttoken": True}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(about))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
