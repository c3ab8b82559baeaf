"""Writes a llama model with random weights, small enough to make in a second and to run anywhere.

Usage: python make-gguf.py OUTPUT.gguf

Two layers of width 64 over a byte vocabulary, about 0.5 MB. The weights come from a fixed seed, so the
file is the same every time. The rows of the output matrix are zero except for printable ASCII: the 40
likeliest tokens, which is what a server samples from by default, are then always text, and the model
never ends by itself but writes exactly as many tokens as it was asked for.
"""

import sys

import gguf
import numpy as np

LAYERS, WIDTH, HEADS, FEED_FORWARD, CONTEXT = 2, 64, 4, 192, 2048
SPECIAL = ["<unk>", "<s>", "</s>"]

tokens = [t.encode() for t in SPECIAL] + [f"<0x{b:02X}>".encode() for b in range(256)]
types = [gguf.TokenType.UNKNOWN, gguf.TokenType.CONTROL, gguf.TokenType.CONTROL] + [gguf.TokenType.BYTE] * 256

random = np.random.default_rng(20260401)


def matrix(rows: int, columns: int) -> np.ndarray:
    """Rows scaled so that a vector keeps its length when it passes through."""
    return random.normal(0, columns**-0.5, (rows, columns)).astype(np.float32)


writer = gguf.GGUFWriter(sys.argv[1], "llama")
writer.add_name("tiny-random")
writer.add_context_length(CONTEXT)
writer.add_embedding_length(WIDTH)
writer.add_block_count(LAYERS)
writer.add_feed_forward_length(FEED_FORWARD)
writer.add_head_count(HEADS)
writer.add_head_count_kv(HEADS)
writer.add_rope_dimension_count(WIDTH // HEADS)
writer.add_layer_norm_rms_eps(1e-5)
writer.add_vocab_size(len(tokens))
writer.add_file_type(gguf.LlamaFileType.ALL_F32)

writer.add_tokenizer_model("llama")
writer.add_tokenizer_pre("default")
writer.add_token_list(tokens)
writer.add_token_scores([0.0] * len(tokens))
writer.add_token_types(types)
writer.add_unk_token_id(0)
writer.add_bos_token_id(1)
writer.add_eos_token_id(2)
writer.add_add_bos_token(True)
writer.add_add_space_prefix(False)

output = np.zeros((len(tokens), WIDTH), np.float32)
for byte in range(0x20, 0x7F):
    output[len(SPECIAL) + byte] = random.normal(0, 0.5, WIDTH)

writer.add_tensor("token_embd.weight", random.normal(0, 1, (len(tokens), WIDTH)).astype(np.float32))
writer.add_tensor("output_norm.weight", np.ones(WIDTH, np.float32))
writer.add_tensor("output.weight", output)
for layer in range(LAYERS):
    writer.add_tensor(f"blk.{layer}.attn_norm.weight", np.ones(WIDTH, np.float32))
    writer.add_tensor(f"blk.{layer}.ffn_norm.weight", np.ones(WIDTH, np.float32))
    for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
        writer.add_tensor(f"blk.{layer}.{name}.weight", matrix(WIDTH, WIDTH))
    writer.add_tensor(f"blk.{layer}.ffn_gate.weight", matrix(FEED_FORWARD, WIDTH))
    writer.add_tensor(f"blk.{layer}.ffn_up.weight", matrix(FEED_FORWARD, WIDTH))
    writer.add_tensor(f"blk.{layer}.ffn_down.weight", matrix(WIDTH, FEED_FORWARD))

writer.write_header_to_file()
writer.write_kv_data_to_file()
writer.write_tensors_to_file()
writer.close()
