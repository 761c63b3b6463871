//! Location of pretrained weights: a file, or a model of the Hugging Face hub.

use super::{Error, Result};
use std::path::{Path, PathBuf};

/// Prefix of a hub model.
const HUB: &str = "hf:";
/// Weights file of a hub model.
const FILE: &str = "model.safetensors";
/// Default revision: the newest.
const NEWEST: &str = "main";

/// Location of weights to start from, as in `model.pretrained`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WeightLocation {
    /// Path of a local file.
    File(PathBuf),
    /// `hf:OWNER/NAME` or `hf:OWNER/NAME@REVISION`.
    Hub {
        /// OWNER/NAME.
        repository: String,
        /// Branch, tag or commit.
        revision: String,
    },
}

impl WeightLocation {
    /// Parses the setting.
    ///
    /// Errors: when it starts with `hf:` but is not a valid model name.
    pub fn of(setting: &Path) -> Result<Self> {
        let Some(name) = setting.to_str().and_then(|text| text.strip_prefix(HUB)) else {
            return Ok(Self::File(setting.into()));
        };
        let (repository, revision) = name.split_once('@').unwrap_or((name, NEWEST));
        let is_word = |word: &str| {
            let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
            !word.is_empty() && !word.starts_with('.') && word.bytes().all(allowed)
        };
        let parts = repository.split_once('/');
        if !parts.is_some_and(|(owner, name)| is_word(owner) && is_word(name)) || !is_word(revision)
        {
            let reason = "expected hf:OWNER/NAME, as in hf:timm/convnext_nano.d1h_in1k, and \
                          @REVISION behind it where it is not the newest";
            return Err(Error::Hub { name: setting.display().to_string(), reason: reason.into() });
        }
        Ok(Self::Hub { repository: repository.into(), revision: revision.into() })
    }

    /// Returns the local path; downloads a hub model unless it is cached.
    ///
    /// Errors: when the download fails, or this program was built without the feature `hub`.
    pub fn fetch(&self) -> Result<PathBuf> {
        match self {
            Self::File(path) => Ok(path.clone()),
            Self::Hub { repository, revision } => {
                download(repository, revision).map_err(|reason| {
                    let revision = match &**revision {
                        NEWEST => String::new(),
                        other => format!("@{other}"),
                    };
                    Error::Hub { name: format!("{HUB}{repository}{revision}"), reason }
                })
            }
        }
    }
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
        let hub = |repository: &str, revision: &str| WeightLocation::Hub {
            repository: repository.into(),
            revision: revision.into(),
        };
        let of = |setting: &str| WeightLocation::of(Path::new(setting));
        let name = "timm/convnext_nano.d1h_in1k";
        assert_eq!(of(&format!("hf:{name}")).unwrap(), hub(name, "main"));
        assert_eq!(of(&format!("hf:{name}@v1.0")).unwrap(), hub(name, "v1.0"));
        assert_eq!(of("a/hf:b.pth").unwrap(), WeightLocation::File("a/hf:b.pth".into()));
        for wrong in ["hf:", "hf:timm", "hf:a/b/c", "hf:a/b@", "hf:../b", "hf:a/b?c", "hf:a/b@x/y"]
        {
            let error = of(wrong).unwrap_err().to_string();
            assert!(error.contains(wrong) && error.contains("hf:OWNER/NAME"), "{error}");
        }
    }
}
