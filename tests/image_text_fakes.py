"""Small image-text models on disk, in the true formats of their libraries."""

import io
import json

import torch

from tag2mask._torchvision import import_torchvision

import_torchvision()
# tests take these from here, since they can be imported only now
import open_clip  # noqa: E402, F401
import sentencepiece  # noqa: E402
import timm  # noqa: E402, F401
import transformers  # noqa: E402

LETTERS = [chr(code) for code in range(33, 127)]
MERGES = [("c", "a"), ("ca", "t</w>"), ("p", "h"), ("o", "f</w>")]
TEXTS = ["a photo of a cat.", "cat", "an image of a railway track, seen from above."]
IMAGE_SIZE = 32
"""Of the networks written here."""


def write_json(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


def write_clip_tokenizer(folder):
    """Write vocab.json and merges.txt; return the number of tokens."""
    tokens = LETTERS + [f"{each}</w>" for each in LETTERS]
    tokens += ["".join(pair) for pair in MERGES]
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    write_json(folder / "vocab.json", {each: i for i, each in enumerate(tokens)})
    lines = ["#version: 0.2", *(" ".join(pair) for pair in MERGES)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n")
    return len(tokens)


def write_clip(folder):
    """Write a CLIP of two layers that reads 16 tokens and 32 pixels."""
    num_tokens = write_clip_tokenizer(folder)
    tower = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
    tower |= {"num_attention_heads": 4}
    text = tower | {"vocab_size": num_tokens, "max_position_embeddings": 16}
    text |= {"bos_token_id": num_tokens - 2, "eos_token_id": num_tokens - 1}
    config = transformers.CLIPConfig(
        text_config=text | {"pad_token_id": num_tokens - 1},
        vision_config=tower | {"image_size": IMAGE_SIZE, "patch_size": 8},
        projection_dim=24,
    )
    save_random(transformers.CLIPModel(config), folder)
    return folder


def write_siglip(folder):
    """Write a SigLIP of two layers that reads 16 tokens and 32 pixels."""
    folder.mkdir(parents=True, exist_ok=True)
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXTS * 20),
        model_writer=model,
        vocab_size=40,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        hard_vocab_limit=False,
        minloglevel=3,
    )
    (folder / "spiece.model").write_bytes(model.getvalue())
    tower = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
    tower |= {"num_attention_heads": 4}
    config = transformers.SiglipConfig(
        text_config=tower
        | {"vocab_size": 48, "max_position_embeddings": 16}
        | {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 1},
        vision_config=tower | {"image_size": IMAGE_SIZE, "patch_size": 8},
    )
    save_random(transformers.SiglipModel(config), folder)
    return folder


def write_sentences(folder, **pooling):
    """Write a BERT of two layers as sentence-transformers does."""
    words = ["a", "photo", "of", "cat", "dog", "sheep", "railway", "track", ".", ","]
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words]
    tokens += [f"##{each}" for each in LETTERS] + list("abcdefghijklmnopqrstuvwxyz")
    tokens = list(dict.fromkeys(tokens))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join(tokens) + "\n")
    write_json(
        folder / "tokenizer_config.json",
        {"tokenizer_class": "BertTokenizer", "model_max_length": 24},
    )
    modes = {"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False}
    write_json(folder / "1_Pooling" / "config.json", modes | pooling)
    config = transformers.BertConfig(
        vocab_size=len(tokens),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=48,
        max_position_embeddings=32,
    )
    save_random(transformers.BertModel(config), folder)
    return folder


def save_random(network, folder):
    """Save with weights large enough for vectors to differ visibly."""
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.3)
    network.save_pretrained(folder)


def without_hub(monkeypatch):
    """Have the hub's library say at once that it cannot be reached."""
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)


def random_images(num=2, size=IMAGE_SIZE):
    return torch.randn(num, 3, size, size, generator=torch.Generator().manual_seed(1))
