//! Location of pretrained weights: a file, or a model of the Hugging Face hub.

use super::{Error, Result};
use std::path::{Path, PathBuf};

/// Prefix of a hub model.
const HUB: &str = "hf:";
/// Weights file of a hub model.
const FILE: &str = "model.safetensors";
/// Default revision: the newest.
const NEWEST: &str = "main";

/// Returns the path of the weights that `model.pretrained` names; downloads a hub model unless it is
/// cached.
///
/// Errors: when the setting starts with `hf:` but is not a valid model name, the download fails, or this
/// program was built without the feature `hub`.
pub(super) fn fetch(setting: &Path) -> Result<PathBuf> {
    let of_hub = |reason| Error::Hub { name: setting.display().to_string(), reason };
    let Some(model) = hub_model(setting) else { return Ok(setting.into()) };
    model.and_then(|(repository, revision)| download(repository, revision)).map_err(of_hub)
}

/// Parses `hf:OWNER/NAME` or `hf:OWNER/NAME@REVISION` to OWNER/NAME and its branch, tag or commit; `None`
/// for a file.
fn hub_model(setting: &Path) -> Option<std::result::Result<(&str, &str), String>> {
    let name = setting.to_str().and_then(|text| text.strip_prefix(HUB))?;
    let (repository, revision) = name.split_once('@').unwrap_or((name, NEWEST));
    let is_word = |word: &str| {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        !word.is_empty() && !word.starts_with('.') && word.bytes().all(allowed)
    };
    let parts = repository.split_once('/');
    let is_name = parts.is_some_and(|(owner, name)| is_word(owner) && is_word(name));
    Some(if is_name && is_word(revision) {
        Ok((repository, revision))
    } else {
        Err("expected hf:OWNER/NAME, as in hf:timm/convnext_nano.d1h_in1k, and @REVISION behind it where \
             it is not the newest"
            .into())
    })
}

/// Tells how to download the model by hand.
fn by_hand(repository: &str, revision: &str) -> String {
    format!(
        "download https://huggingface.co/{repository}/resolve/{revision}/{FILE} and give the path of that file"
    )
}

#[cfg(feature = "hub")]
fn download(repository: &str, revision: &str) -> std::result::Result<PathBuf, String> {
    use crate::bounded::excerpt;
    use hf_hub::{Repo, RepoType, api::sync::ApiBuilder};
    let repo = Repo::with_revision(repository.into(), RepoType::Model, revision.into());
    // Respects $HF_HOME, $HF_ENDPOINT and a stored token.
    let api = ApiBuilder::from_env().build();
    api.and_then(|api| api.repo(repo).get(FILE)).map_err(|e| {
        format!(
            "it is not in the cache and cannot be downloaded ({}); go online once, or {}",
            excerpt(&e.to_string(), 200),
            by_hand(repository, revision)
        )
    })
}

#[cfg(not(feature = "hub"))]
fn download(repository: &str, revision: &str) -> std::result::Result<PathBuf, String> {
    Err(format!(
        "this rsna-tui was built without the feature `hub`: {}",
        by_hand(repository, revision)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_names_a_file_or_a_model_of_the_hub() {
        let of = |setting: &'static str| hub_model(Path::new(setting));
        let name = "timm/convnext_nano.d1h_in1k";
        assert_eq!(of("hf:timm/convnext_nano.d1h_in1k"), Some(Ok((name, "main"))));
        assert_eq!(of("hf:timm/convnext_nano.d1h_in1k@v1.0"), Some(Ok((name, "v1.0"))));
        assert_eq!(fetch(Path::new("a/hf:b.pth")).unwrap(), Path::new("a/hf:b.pth"));
        for wrong in ["hf:", "hf:timm", "hf:a/b/c", "hf:a/b@", "hf:../b", "hf:a/b?c", "hf:a/b@x/y"]
        {
            let error = fetch(Path::new(wrong)).unwrap_err().to_string();
            assert!(error.contains(wrong) && error.contains("hf:OWNER/NAME"), "{error}");
        }
    }
}
