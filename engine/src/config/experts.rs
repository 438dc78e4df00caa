//! The mixture of experts in a configuration: how many, which layers have them, and how the router chooses.

use crate::config::fields::Fields;
use crate::error::LoadError;

/// The experts of a layer, and how a token finds its own.
#[derive(Debug, Clone)]
pub(crate) struct MoeConfig {
    pub(crate) experts: usize,
    pub(crate) per_token: usize,
    /// Experts that every token goes to, beside the chosen ones.
    pub(crate) shared: usize,
    pub(crate) intermediate: usize,
    pub(crate) router: Router,
    pub(crate) names: &'static ExpertNames,
}

/// How router logits become a choice.
#[derive(Debug, Clone)]
pub(crate) struct Router {
    pub(crate) scores: Scores,
    /// Neighbouring experts that are let in or shut out together.
    pub(crate) groups: usize,
    pub(crate) groups_kept: usize,
    /// The weights of the chosen add up to one, before `scale`.
    pub(crate) normalise: bool,
    pub(crate) scale: f32,
}

/// What experts are chosen and weighed by.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Scores {
    /// Sigmoids; a bias that only selects is added to them, and a group counts by its two best.
    BiasedSigmoid,
    /// A softmax over all experts; a group counts by its best.
    Softmax,
}

/// What a checkpoint calls the parts of a mixture.
#[derive(Debug)]
pub(crate) struct ExpertNames {
    pub(crate) block: &'static str,
    pub(crate) gate: &'static str,
    pub(crate) up: &'static str,
    pub(crate) down: &'static str,
}

/// The names in every family but Mixtral, and those of dense layers in all.
pub(crate) static PLAIN: ExpertNames = ExpertNames { block: "mlp", gate: "gate_proj", up: "up_proj", down: "down_proj" };
static MIXTRAL: ExpertNames = ExpertNames { block: "block_sparse_moe", gate: "w1", up: "w3", down: "w2" };

const EXPERTS: [&str; 3] = ["n_routed_experts", "num_local_experts", "num_experts"];

pub(super) fn deepseek_v3(root: &Fields) -> Result<MoeConfig, LoadError> {
    root.expect("topk_method", Some("noaux_tc"), &["noaux_tc"])?;
    root.expect("scoring_func", Some("sigmoid"), &["sigmoid"])?;
    let router = Router {
        scores: Scores::BiasedSigmoid,
        groups: root.size("n_group", 8)?,
        groups_kept: root.size("topk_group", 4)?,
        normalise: root.flag("norm_topk_prob", true)?,
        scale: root.float("routed_scaling_factor", 2.5)? as f32,
    };
    deepseek(root, router, 1)
}

pub(super) fn deepseek_v2(root: &Fields) -> Result<MoeConfig, LoadError> {
    root.expect("scoring_func", Some("softmax"), &["softmax"])?;
    // DeepSeek's code and transformers read it differently, and no published model sets it.
    root.refuse_flag("norm_topk_prob")?;
    let grouped = root.expect("topk_method", Some("greedy"), &["greedy", "group_limited_greedy"])? == "group_limited_greedy";
    let router = Router {
        groups: if grouped { root.size("n_group", 1)? } else { 1 },
        groups_kept: if grouped { root.size("topk_group", 1)? } else { 1 },
        scale: root.float("routed_scaling_factor", 1.0)? as f32,
        ..Router::softmax(false)
    };
    deepseek(root, router, 2)
}

fn deepseek(root: &Fields, router: Router, shared: usize) -> Result<MoeConfig, LoadError> {
    let moe = MoeConfig::read(root, "moe_intermediate_size")?;
    let every_layer = root.count("moe_layer_freq", 1)?;
    root.check("moe_layer_freq", every_layer == 1, "1")?;
    let group_size = moe.experts / router.groups;
    // A group of sigmoid scores counts by two experts, so it must have them.
    let enough = router.groups == 1 || router.scores == Scores::Softmax || group_size >= 2;
    let divides = moe.experts.is_multiple_of(router.groups) && enough;
    root.check("n_group", divides, "a divisor of n_routed_experts with two experts or more in a group")?;
    root.check("topk_group", router.groups_kept <= router.groups, "at most n_group")?;
    root.check("num_experts_per_tok", moe.per_token <= router.groups_kept * group_size, "at most the experts of the kept groups")?;
    Ok(MoeConfig { shared: root.count("n_shared_experts", shared)?, router, ..moe })
}

pub(super) fn mixtral(root: &Fields) -> Result<MoeConfig, LoadError> {
    let moe = MoeConfig::read(root, "intermediate_size")?;
    Ok(MoeConfig { router: Router::softmax(true), names: &MIXTRAL, ..moe })
}

pub(super) fn olmoe(root: &Fields) -> Result<MoeConfig, LoadError> {
    let moe = MoeConfig::read(root, "intermediate_size")?;
    Ok(MoeConfig { router: Router::softmax(root.flag("norm_topk_prob", false)?), ..moe })
}

pub(super) fn qwen3_moe(root: &Fields) -> Result<MoeConfig, LoadError> {
    let moe = MoeConfig::read(root, "moe_intermediate_size")?;
    Ok(MoeConfig { router: Router::softmax(root.flag("norm_topk_prob", false)?), ..moe })
}

/// For each layer whether it has experts.
pub(super) fn layers(root: &Fields, layers: usize) -> Result<Vec<bool>, LoadError> {
    let first = root.count("first_k_dense_replace", 0)?;
    let step = root.size("decoder_sparse_step", 1)?;
    let dense = root.numbers("mlp_only_layers")?.unwrap_or_default();
    let sparse = |layer: usize| layer >= first && (layer + 1).is_multiple_of(step) && !dense.contains(&(layer as u32));
    Ok((0..layers).map(sparse).collect())
}

impl MoeConfig {
    /// The sizes; the router is plain, and no expert is shared.
    fn read(root: &Fields, intermediate: &'static str) -> Result<MoeConfig, LoadError> {
        let experts = root.required(EXPERTS.into_iter().find(|field| root.has(field)).unwrap_or(EXPERTS[0]))?;
        let per_token = root.required("num_experts_per_tok")?;
        root.check("num_experts_per_tok", per_token <= experts, "at most the number of experts")?;
        let intermediate = root.required(intermediate)?;
        Ok(MoeConfig { experts, per_token, shared: 0, intermediate, router: Router::softmax(false), names: &PLAIN })
    }
}

impl Router {
    fn softmax(normalise: bool) -> Router {
        Router { scores: Scores::Softmax, groups: 1, groups_kept: 1, normalise, scale: 1.0 }
    }
}
