"""The deepseek_v3 architecture in plain PyTorch, for training: tensor names and mathematics are those of transformers' DeepseekV3ForCausalLM.

It adds what that class leaves out: the multi-token-prediction layer, and the load counts for the router's bias rule.
Experts are stacked while training; export.py writes them one by one.
"""
import math
from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as F
from torch import nn


@dataclass
class Config:
    vocab_size: int = 1024
    hidden_size: int = 192
    intermediate_size: int = 512
    moe_intermediate_size: int = 128
    num_hidden_layers: int = 4
    num_attention_heads: int = 6
    num_key_value_heads: int = 6
    n_routed_experts: int = 8
    num_experts_per_tok: int = 2
    n_shared_experts: int = 1
    n_group: int = 4
    topk_group: int = 2
    norm_topk_prob: bool = True
    routed_scaling_factor: float = 1.5
    first_k_dense_replace: int = 1
    moe_layer_freq: int = 1
    q_lora_rank: int = 96
    kv_lora_rank: int = 96
    qk_nope_head_dim: int = 32
    qk_rope_head_dim: int = 16
    v_head_dim: int = 32
    rope_theta: float = 10000.0
    rope_interleave: bool = True
    max_position_embeddings: int = 4096
    rms_norm_eps: float = 1e-6
    num_nextn_predict_layers: int = 1

    YARN = {
        "type": "yarn",
        "factor": 4.0,
        "original_max_position_embeddings": 1024,
        "beta_fast": 32.0,
        "beta_slow": 1.0,
        "mscale": 1.0,
        "mscale_all_dim": 1.0,
    }

    def as_json(self):
        """config.json in the spelling of the original checkpoints."""
        return {
            "architectures": ["DeepseekV3ForCausalLM"],
            "model_type": "deepseek_v3",
            **asdict(self),
            "rope_scaling": self.YARN,
            "scoring_func": "sigmoid",
            "topk_method": "noaux_tc",
            "hidden_act": "silu",
            "attention_bias": False,
            "attention_dropout": 0.0,
            "tie_word_embeddings": False,
            "bos_token_id": 0,
            "eos_token_id": 1,
            "pad_token_id": 2,
            "initializer_range": 0.02,
            "use_cache": True,
            "torch_dtype": "bfloat16",
        }


def yarn_frequencies(config):
    """Rotation per position for each pair of rope dimensions, stretched by YaRN."""
    dim, base, yarn = config.qk_rope_head_dim, config.rope_theta, config.YARN
    plain = base ** (-torch.arange(0, dim, 2, dtype=torch.float32) / dim)

    def dimension_of(rotations):
        span = yarn["original_max_position_embeddings"] / (rotations * 2 * math.pi)
        return dim * math.log(span) / (2 * math.log(base))

    low = max(math.floor(dimension_of(yarn["beta_fast"])), 0)
    high = min(math.ceil(dimension_of(yarn["beta_slow"])), dim - 1)
    ramp = ((torch.arange(dim // 2, dtype=torch.float32) - low) / (high - low)).clamp(0, 1)
    return plain * (1 - ramp) + plain / yarn["factor"] * ramp


def rotate(x, cos, sin):
    """Rotates interleaved pairs; the result holds all first halves, then all second halves."""
    first, second = x[..., 0::2], x[..., 1::2]
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)


class RMSNorm(nn.Module):
    def __init__(self, size):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))

    def forward(self, x):
        return F.rms_norm(x, self.weight.shape, self.weight, 1e-6)


class Attention(nn.Module):
    """Multi-head latent attention, in its expanded form."""

    def __init__(self, c):
        super().__init__()
        self.c = c
        heads, query = c.num_attention_heads, c.qk_nope_head_dim + c.qk_rope_head_dim
        self.q_a_proj = nn.Linear(c.hidden_size, c.q_lora_rank, bias=False)
        self.q_a_layernorm = RMSNorm(c.q_lora_rank)
        self.q_b_proj = nn.Linear(c.q_lora_rank, heads * query, bias=False)
        self.kv_a_proj_with_mqa = nn.Linear(c.hidden_size, c.kv_lora_rank + c.qk_rope_head_dim, bias=False)
        self.kv_a_layernorm = RMSNorm(c.kv_lora_rank)
        self.kv_b_proj = nn.Linear(c.kv_lora_rank, heads * (c.qk_nope_head_dim + c.v_head_dim), bias=False)
        self.o_proj = nn.Linear(heads * c.v_head_dim, c.hidden_size, bias=False)
        stretch = 0.1 * c.YARN["mscale_all_dim"] * math.log(c.YARN["factor"]) + 1.0
        self.scale = query**-0.5 * stretch * stretch

    def forward(self, x, cos, sin):
        c, (batch, length, _) = self.c, x.shape
        heads = (batch, length, c.num_attention_heads, -1)
        q = self.q_b_proj(self.q_a_layernorm(self.q_a_proj(x))).view(heads).transpose(1, 2)
        q_nope, q_rope = q.split([c.qk_nope_head_dim, c.qk_rope_head_dim], dim=-1)
        latent, k_rope = self.kv_a_proj_with_mqa(x).split([c.kv_lora_rank, c.qk_rope_head_dim], dim=-1)
        kv = self.kv_b_proj(self.kv_a_layernorm(latent)).view(heads).transpose(1, 2)
        k_nope, v = kv.split([c.qk_nope_head_dim, c.v_head_dim], dim=-1)
        k_rope = rotate(k_rope[:, None], cos, sin).expand(-1, c.num_attention_heads, -1, -1)
        q = torch.cat([q_nope, rotate(q_rope, cos, sin)], dim=-1)
        k = torch.cat([k_nope, k_rope], dim=-1)
        # The fused kernel wants values as wide as the keys.
        v = F.pad(v, (0, q.shape[-1] - v.shape[-1]))
        out = F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=self.scale)
        return self.o_proj(out[..., : c.v_head_dim].transpose(1, 2).reshape(batch, length, -1))


class Mlp(nn.Module):
    def __init__(self, hidden, width):
        super().__init__()
        self.gate_proj = nn.Linear(hidden, width, bias=False)
        self.up_proj = nn.Linear(hidden, width, bias=False)
        self.down_proj = nn.Linear(width, hidden, bias=False)

    def forward(self, x):
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Router(nn.Module):
    """Chooses experts by sigmoid score plus bias, weighs them by score alone."""

    def __init__(self, c):
        super().__init__()
        self.c = c
        self.weight = nn.Parameter(torch.zeros(c.n_routed_experts, c.hidden_size))
        self.register_buffer("e_score_correction_bias", torch.zeros(c.n_routed_experts))

    def forward(self, x):
        c = self.c
        scores = F.linear(x.float(), self.weight.float()).sigmoid()
        choice = scores.detach() + self.e_score_correction_bias
        grouped = choice.view(-1, c.n_group, c.n_routed_experts // c.n_group)
        best = grouped.topk(2, dim=-1)[0].sum(-1).topk(c.topk_group, dim=-1)[1]
        kept = torch.zeros(grouped.shape[:2], dtype=torch.bool).scatter_(1, best, True)
        choice = grouped.masked_fill(~kept[..., None], float("-inf")).flatten(1)
        experts = choice.topk(c.num_experts_per_tok, dim=-1)[1]
        weights = scores.gather(1, experts)
        weights = weights / (weights.sum(-1, keepdim=True) + 1e-20) * c.routed_scaling_factor
        return experts, weights


class Moe(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.gate = Router(c)
        self.gate_up_proj = nn.Parameter(torch.empty(c.n_routed_experts, 2, c.moe_intermediate_size, c.hidden_size))
        self.down_proj = nn.Parameter(torch.empty(c.n_routed_experts, c.hidden_size, c.moe_intermediate_size))
        self.shared_experts = Mlp(c.hidden_size, c.moe_intermediate_size * c.n_shared_experts)
        # Tokens per expert since the last bias update; not saved.
        self.load = torch.zeros(c.n_routed_experts)

    def forward(self, x):
        flat = x.reshape(-1, x.shape[-1])
        experts, weights = self.gate(flat)
        # Rows sorted by expert, so that each expert is two dense products over a slice.
        order = experts.flatten().argsort()
        counts = torch.bincount(experts.flatten(), minlength=len(self.load))
        self.load += counts
        rows = order // experts.shape[1]
        pieces = []
        for expert, piece in enumerate(flat.index_select(0, rows).split(counts.tolist())):
            gate, up = F.linear(piece, self.gate_up_proj[expert].flatten(0, 1)).chunk(2, dim=-1)
            pieces.append(F.linear(F.silu(gate) * up, self.down_proj[expert]))
        routed = torch.cat(pieces) * weights.flatten()[order, None]
        return torch.zeros_like(flat).index_add(0, rows, routed.to(flat.dtype)).view_as(x) + self.shared_experts(x)


class Layer(nn.Module):
    def __init__(self, c, dense):
        super().__init__()
        self.self_attn = Attention(c)
        self.mlp = Mlp(c.hidden_size, c.intermediate_size) if dense else Moe(c)
        self.input_layernorm = RMSNorm(c.hidden_size)
        self.post_attention_layernorm = RMSNorm(c.hidden_size)

    def forward(self, x, cos, sin):
        x = x + self.self_attn(self.input_layernorm(x), cos, sin)
        return x + self.mlp(self.post_attention_layernorm(x))


class Mtp(Layer):
    """Predicts the token after the next from the trunk's last state and the next token's embedding."""

    def __init__(self, c):
        super().__init__(c, dense=False)
        self.enorm, self.hnorm = RMSNorm(c.hidden_size), RMSNorm(c.hidden_size)
        self.eh_proj = nn.Linear(2 * c.hidden_size, c.hidden_size, bias=False)
        self.shared_head = nn.ModuleDict({"norm": RMSNorm(c.hidden_size)})

    def forward(self, hidden, next_embedding, cos, sin):
        joined = self.eh_proj(torch.cat([self.enorm(next_embedding), self.hnorm(hidden)], dim=-1))
        return self.shared_head["norm"](super().forward(joined, cos, sin))


class Trunk(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.embed_tokens = nn.Embedding(c.vocab_size, c.hidden_size)
        layers = [Layer(c, dense=i < c.first_k_dense_replace) for i in range(c.num_hidden_layers)]
        self.layers = nn.ModuleList(layers + [Mtp(c)])
        self.norm = RMSNorm(c.hidden_size)


class Nano(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.config = config
        self.model = Trunk(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        angles = torch.outer(torch.arange(config.max_position_embeddings).float(), yarn_frequencies(config))
        self.register_buffer("cos", angles.cos(), persistent=False)
        self.register_buffer("sin", angles.sin(), persistent=False)
        self.apply_initial_weights()

    @torch.no_grad()
    def apply_initial_weights(self):
        """Tokens start loud in the residual stream and the layers silent, so that each layer first learns from the tokens themselves."""
        for name, weight in self.named_parameters():
            if weight.dim() < 2:
                continue
            if "embed_tokens" in name:
                weight.normal_(0, 1)
            elif "down_proj" in name or "o_proj" in name:
                weight.zero_()
            elif "gate.weight" in name or "lm_head" in name:
                weight.normal_(0, 0.02)
            else:
                weight.normal_(0, weight.shape[-1] ** -0.5)

    def hidden(self, ids):
        """States after the final norm, [batch, length, hidden]."""
        cos, sin = self.cos[: ids.shape[1]], self.sin[: ids.shape[1]]
        x = self.model.embed_tokens(ids)
        for layer in self.model.layers[: self.config.num_hidden_layers]:
            x = layer(x, cos, sin)
        return self.model.norm(x)

    def draft(self, hidden, ids):
        """MTP states for positions 0..length-1: position i has seen token i+1 and predicts token i+2."""
        length = ids.shape[1] - 1
        embedding = self.model.embed_tokens(ids[:, 1:])
        return self.model.layers[-1](hidden[:, :-1], embedding, self.cos[:length], self.sin[:length])

    def forward(self, ids):
        return self.lm_head(self.hidden(ids))

    def experts(self):
        """The mixture layers in order, MTP last."""
        return [layer.mlp for layer in self.model.layers if isinstance(layer.mlp, Moe)]
