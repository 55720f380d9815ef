"""Makes small models with random weights, as folders of Hugging Face's: a Llama, an adapter for it, an embedder, and a
Llama with eyes.

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

TEXT, ADAPTER, EMBEDDER, SEEING = "tiny-llama", "tiny-lora", "tiny-embedder", "tiny-eyes"
IMAGE, PATCH = 28, 7
"""Pixels on a side of what the eyes look at."""
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


def keep_to_ascii(model: Any, vocabulary: PreTrainedTokenizerFast) -> None:
    """Let it write whole characters: no bytes of others, and no control tokens but the end.

    The first number of each token's embedding stays large on its way through the layers; by it these lose.
    """
    texts = [vocabulary.decode([token]) for token in range(len(vocabulary))]
    silent = [token for token, text in enumerate(texts) if not text.isascii() or text in NAMES]
    silent.remove(vocabulary.eos_token_id)
    with torch.no_grad():
        model.model.embed_tokens.weight[:, 0] = 10.0
        model.lm_head.weight[:, 0] = 0.0
        model.lm_head.weight[silent, 0] = -10.0


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
        keep_to_ascii(model, vocabulary)
        model.to(torch.bfloat16).save_pretrained(folder / name)
        vocabulary.save_pretrained(folder / name)
    pooled(folder / EMBEDDER)
    seeing(folder / SEEING)
    adapter(folder / ADAPTER, folder / TEXT)


def seeing(folder: Path) -> None:
    """A model that reads images: each is 4 tokens, and some around them."""
    side = {"longest_edge": IMAGE}
    processor = Idefics3Processor(
        image_processor=Idefics3ImageProcessorPil(size=side, max_image_size=side, do_image_splitting=False),
        tokenizer=tokenizer(),
        image_seq_len=(IMAGE // PATCH // 2) ** 2,
        chat_template=TEMPLATE,
    )
    vocabulary = processor.tokenizer
    small = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = Idefics3Config(
        text_config=LlamaConfig(**shape(vocabulary)).to_dict(),
        vision_config={**small, "image_size": IMAGE, "patch_size": PATCH},
        image_token_id=vocabulary.convert_tokens_to_ids("<image>"),
        scale_factor=2,
        pad_token_id=vocabulary.pad_token_id,
    )
    Idefics3ForConditionalGeneration(config).to(torch.bfloat16).save_pretrained(folder)
    processor.save_pretrained(folder)


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
