"""Which marks on letters does a word-piece model not see?

An uncased BERT reads `é` as `e`: its tokenizer takes letters apart (Unicode NFD) and drops the marks of category Mn.
llama.cpp does that too, but does not take Hangul syllables apart and drops the vowel signs of Indic scripts (category
Mc) as well, so that Korean and Hindi become other tokens than those the model was trained with (cosine 0.59 and 0.96
to the original's vectors). So it is told to leave the marks alone, and they are dropped here.
"""

import ctypes
import unicodedata

import llama_cpp

from golek_worker.gguf import Header

_LOWERCASE = "tokenizer.ggml.normalizer.lowercase"
_STRIP_ACCENTS = "tokenizer.ggml.normalizer.strip_accents"
_WORD_PIECE = "bert"


def are_dropped(header: Header) -> bool:
    """True for a model whose tokenizer drops marks, by llama.cpp's rules: as the file says, else when it is uncased."""
    metadata = header.metadata
    return metadata.get("tokenizer.ggml.model") == _WORD_PIECE and bool(
        metadata.get(_STRIP_ACCENTS, metadata.get(_LOWERCASE, True))
    )


def leave_alone() -> "ctypes.Array[llama_cpp.llama_model_kv_override]":
    """What llama.cpp must be told when it loads the model; to be kept until it has."""
    overrides = (llama_cpp.llama_model_kv_override * 2)()  # all zeros: the value is false, an empty key ends the list
    overrides[0].tag = llama_cpp.LLAMA_KV_OVERRIDE_TYPE_BOOL
    overrides[0].key = _STRIP_ACCENTS.encode()
    return overrides


def dropped(text: str) -> str:
    """`text` taken apart, without its marks."""
    if text.isascii():
        return text
    return "".join([char for char in unicodedata.normalize("NFD", text) if unicodedata.category(char) != "Mn"])
