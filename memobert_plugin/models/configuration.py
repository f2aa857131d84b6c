"""Sizes of the network: BERT-base and two smaller ones."""

from dataclasses import dataclass, field

from fairseq.dataclass import FairseqDataclass


@dataclass
class MEmoBERTConfig(FairseqDataclass):
    """BERT-base, the backbone of the paper (section 4)."""

    encoder_layers: int = field(default=12, metadata={"help": "transformer layers (BERT-base: 12)"})
    encoder_embed_dim: int = field(default=768, metadata={"help": "hidden width D (BERT-base: 768)"})
    encoder_ffn_embed_dim: int = field(default=3072, metadata={"help": "feed-forward width (BERT-base: 3072)"})
    encoder_attention_heads: int = field(default=12, metadata={"help": "attention heads (BERT-base: 12)"})
    dropout: float = field(default=0.1, metadata={"help": "dropout on embeddings and sub-layer outputs (BERT: 0.1)"})
    attention_dropout: float = field(default=0.1, metadata={"help": "dropout on attention weights (BERT: 0.1)"})
    max_positions: int = field(
        default=512, metadata={"help": "rows of each of the three position tables, in pieces or frames (BERT: 512)"}
    )
    checkpoint_activations: bool = field(
        default=False,
        metadata={"help": "recompute each layer in the backward pass: less memory, about a third more time"},
    )
    compile_layers: bool = field(
        default=False,
        metadata={
            "help": "compile normalisation, dropout and feed-forward of the layers with torch.compile, for GPUs (a CPU "
            "gains nothing); the first updates take a minute more; checkpoints are the same"
        },
    )


@dataclass
class MEmoBERTSmallConfig(MEmoBERTConfig):
    """MiniLM's size: 6 layers x 384 x 12 heads."""

    encoder_layers: int = field(default=6, metadata={"help": "transformer layers"})
    encoder_embed_dim: int = field(default=384, metadata={"help": "hidden width D"})
    encoder_ffn_embed_dim: int = field(default=1536, metadata={"help": "feed-forward width"})


@dataclass
class MEmoBERTTinyConfig(MEmoBERTConfig):
    """BERT-tiny's size, for trials on a CPU: 2 layers x 128 x 2 heads."""

    encoder_layers: int = field(default=2, metadata={"help": "transformer layers"})
    encoder_embed_dim: int = field(default=128, metadata={"help": "hidden width D"})
    encoder_ffn_embed_dim: int = field(default=512, metadata={"help": "feed-forward width"})
    encoder_attention_heads: int = field(default=2, metadata={"help": "attention heads"})
