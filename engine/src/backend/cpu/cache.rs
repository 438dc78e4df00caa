//! What one layer caches for its slots: f32 where that is the format of the weights, bf16 where they have fewer bits.

use crate::backend::cpu::format::Format;
use crate::backend::cpu::kernel::PANEL;
use crate::backend::cpu::latent::Latent;
use crate::backend::cpu::panels::Panels;
use crate::config::AttentionConfig;

/// Of one kind of attention or the other.
pub(crate) enum Cache {
    Latent(Latent),
    Panels(Panels),
}

impl Cache {
    pub(super) fn latent(&self) -> &Latent {
        match self {
            Cache::Latent(latent) => latent,
            Cache::Panels(_) => unreachable!("this cache has keys and values"),
        }
    }

    pub(super) fn latent_mut(&mut self) -> &mut Latent {
        match self {
            Cache::Latent(latent) => latent,
            Cache::Panels(_) => unreachable!("this cache has keys and values"),
        }
    }

    pub(super) fn panels(&self) -> &Panels {
        match self {
            Cache::Panels(panels) => panels,
            Cache::Latent(_) => unreachable!("this cache has latents"),
        }
    }

    pub(super) fn panels_mut(&mut self) -> &mut Panels {
        match self {
            Cache::Panels(panels) => panels,
            Cache::Latent(_) => unreachable!("this cache has latents"),
        }
    }

    /// Bytes that one layer takes for a token.
    pub(crate) fn token_bytes(format: Format, attention: &AttentionConfig) -> usize {
        match attention {
            AttentionConfig::Mla(_) => Latent::entry_bytes(format, attention.cached()),
            AttentionConfig::Gqa(gqa) => Panels::slot_bytes(format, gqa.groups, gqa.head),
        }
    }

    /// A page of the cache holds a multiple of so many tokens.
    pub(crate) fn page_step(attention: &AttentionConfig) -> usize {
        match attention {
            AttentionConfig::Mla(_) => 1,
            AttentionConfig::Gqa(_) => PANEL,
        }
    }
}
