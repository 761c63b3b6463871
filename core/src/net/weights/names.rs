//! Removes the prefixes that wrappers add to names: `module.` of DataParallel, `_orig_mod.` of
//! torch.compile, `model.` of a Lightning module, in any order and depth.

use super::{Content, Tensors};
use crate::bounded::excerpt;
use candle_core::Tensor;
use std::collections::{BTreeMap, HashMap, HashSet};

/// Name segments that PyTorch's wrappers add for the wrapped module, which may be any part of the
/// network.
const WRAPPERS: [&str; 4] =
    ["module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"];
/// Counter that `torch.optim.swa_utils.AveragedModel` saves with its weights.
const AVERAGED: &str = "n_averaged";
/// Prefixes found in a whole network only, not in an encoder.
const OF_NETWORK: [&str; 4] = ["lstm.", "lstm2.", "head.0.", "head2."];
/// Words in a name that denote a moving average of the weights.
const AVERAGE: [&str; 4] = ["ema", "swa", "averaged", "average"];

/// Whether a dictionary's name or a prefix of weights denotes a moving average: `state_dict_ema`,
/// `modelEMA`, `ema_model.`.
pub(super) fn is_average(name: &str) -> bool {
    let mut words = String::new();
    let mut before = ' ';
    for c in name.chars() {
        if c.is_uppercase() && before.is_lowercase() {
            words.push('_');
        }
        words.extend(c.to_lowercase());
        before = c;
    }
    words.split(|c: char| !c.is_alphanumeric()).any(|word| AVERAGE.contains(&word))
}

/// Decides by the names what the weights belong to: timm's encoder has no LSTM, and its head has another
/// name.
pub(super) fn content<'a>(names: impl Iterator<Item = &'a String>) -> Content {
    let mut names = names.map(|name| bare(name));
    let is_there = |name: &str, part: &str| {
        name.match_indices(part).any(|(at, _)| at == 0 || name[..at].ends_with('.'))
    };
    match names.any(|name| OF_NETWORK.iter().any(|part| is_there(&name, part))) {
        true => Content::Network,
        false => Content::Encoder,
    }
}

/// Returns the name without the segments of [`WRAPPERS`].
fn bare(name: &str) -> String {
    let own = name.split('.').filter(|segment| !WRAPPERS.contains(segment));
    own.collect::<Vec<_>>().join(".")
}

/// Renames the weights to the network's own names, `known`: removes wrappers' segments, then the prefix
/// that most names have. A name with another prefix stays as it is. If a moving average is stored under
/// a prefix of its own, `average` selects it or the weights, and the other set is dropped.
///
/// Errors: when two names become the same, or the file holds several networks; one sentence.
pub(super) fn unwrap(
    tensors: &mut Tensors,
    known: &HashSet<&str>,
    average: bool,
) -> Result<(), String> {
    let mut dict: HashMap<String, Tensor> = HashMap::new();
    for (name, tensor) in std::mem::take(&mut tensors.by_name) {
        let own = bare(&name);
        if own != AVERAGED && dict.insert(own, tensor).is_some() {
            let name = excerpt(&name, 100);
            return Err(format!(
                "{name:?} is there twice, with and without what a wrapper puts before it; save one \
                 network alone"
            ));
        }
    }
    let (averages, plain): (Vec<_>, Vec<_>) =
        prefixes(&dict, known).into_iter().partition(|(prefix, _)| is_average(prefix));
    let takes_average = !averages.is_empty() && (average || plain.is_empty());
    let (candidates, others) = if takes_average { (averages, plain) } else { (plain, averages) };
    let most = candidates.iter().map(|(_, count)| *count).max().unwrap_or(0);
    let best: Vec<&String> =
        candidates.iter().filter(|(_, count)| *count == most).map(|(prefix, _)| prefix).collect();
    let prefix = match best[..] {
        [prefix] => prefix.as_str(),
        // A few names match by chance.
        _ if 2 * most < known.len() => "",
        _ => {
            let found = best.iter().take(4).map(|prefix| format!("{:?}", excerpt(prefix, 60)));
            let found: Vec<String> = found.collect();
            return Err(format!(
                "it holds {} such networks, their names beginning with {}; save one of them alone",
                best.len(),
                found.join(", ")
            ));
        }
    };
    let under =
        |name: &str, prefix: &str| name.strip_prefix(prefix).is_some_and(|own| known.contains(own));
    if let Some((other, _)) = others.iter().max_by_key(|(_, count)| *count) {
        let describe = |prefix: &str| match prefix {
            "" => "the names without a prefix".to_string(),
            _ => format!("the names that begin with {:?}", excerpt(prefix, 60)),
        };
        tensors.taken = Some((describe(prefix), describe(other)));
        dict.retain(|name, _| {
            under(name, prefix) || !others.iter().any(|(other, _)| under(name, other))
        });
    }
    tensors.is_average |= takes_average;
    let own = |name: String| match name.strip_prefix(prefix) {
        Some(own) => own.to_string(),
        None => name,
    };
    tensors.by_name = dict.into_iter().map(|(name, tensor)| (own(name), tensor)).collect();
    Ok(())
}

/// Counts, for each prefix, the names that consist of it and a name in `known`.
fn prefixes(dict: &HashMap<String, Tensor>, known: &HashSet<&str>) -> BTreeMap<String, usize> {
    let longest = known.iter().map(|name| name.len()).max().unwrap_or(0);
    let mut prefixes = BTreeMap::new();
    for name in dict.keys() {
        // Search from the end, no further than the longest known name.
        let starts = name.rmatch_indices('.').map(|(at, _)| at + 1);
        let starts = starts.take_while(|start| name.len() - start <= longest).chain([0]);
        for start in starts.filter(|&start| known.contains(&name[start..])) {
            *prefixes.entry(name[..start].to_string()).or_default() += 1;
        }
    }
    prefixes
}
