//! Key bindings: a single table for dispatch, help and the config's changes.

mod table;

pub use table::BINDINGS;

use super::action::Action;
use super::context::View;
use super::views::VIEWS;
use crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use std::collections::BTreeMap;

/// An action with its keys and descriptions.
#[derive(Debug, Clone, Copy)]
pub struct Binding {
    /// Name in the config's `[keys]`.
    pub name: &'static str,
    /// The action.
    pub action: Action,
    /// Default keys, separated by blanks, as in the config.
    pub keys: &'static str,
    /// Views where it works; empty: everywhere.
    pub views: &'static [View],
    /// Rank on the key line, from 1 (first to get room), and label; an empty label hides it.
    pub short: (u8, &'static str),
    /// Help text. If empty, the action is the opposite of the previous one and shares its line.
    pub help: &'static str,
}

impl Binding {
    /// Whether it works in `view`.
    pub fn works_in(&self, view: View) -> bool {
        self.views.is_empty() || self.views.contains(&view)
    }

    /// The default keys.
    pub fn default_keys(&self) -> Vec<Key> {
        Key::parse_all(self.keys).unwrap_or_default()
    }
}

/// A key, with or without Ctrl.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key {
    code: KeyCode,
    control: bool,
}

/// Names of special keys, as the config and the help write them.
const NAMED: [(&str, KeyCode); 18] = [
    ("←", KeyCode::Left),
    ("→", KeyCode::Right),
    ("↑", KeyCode::Up),
    ("↓", KeyCode::Down),
    ("Left", KeyCode::Left),
    ("Right", KeyCode::Right),
    ("Up", KeyCode::Up),
    ("Down", KeyCode::Down),
    ("PgUp", KeyCode::PageUp),
    ("PgDn", KeyCode::PageDown),
    ("Home", KeyCode::Home),
    ("End", KeyCode::End),
    ("Tab", KeyCode::Tab),
    ("⇧Tab", KeyCode::BackTab),
    ("BackTab", KeyCode::BackTab),
    ("Enter", KeyCode::Enter),
    ("Esc", KeyCode::Esc),
    ("Space", KeyCode::Char(' ')),
];

impl Key {
    /// The key of an event; `None` if it can have no binding.
    pub fn of(event: &KeyEvent) -> Option<Self> {
        let alt = event.modifiers.contains(KeyModifiers::ALT);
        if event.kind == KeyEventKind::Release || alt {
            return None;
        }
        // Ignore Caps Lock.
        let code = match event.code {
            KeyCode::Char(c) => KeyCode::Char(c.to_ascii_lowercase()),
            code => code,
        };
        Some(Self { code, control: event.modifiers.contains(KeyModifiers::CONTROL) })
    }

    /// The event that pressing the key produces.
    pub fn event(self) -> KeyEvent {
        let modifiers = if self.control { KeyModifiers::CONTROL } else { KeyModifiers::NONE };
        KeyEvent::new(self.code, modifiers)
    }

    /// Parses a key's name: `p`, `Ctrl-P`, `F5`, `Left`, `Space`.
    pub fn parse(text: &str) -> Option<Self> {
        let lower = text.to_lowercase();
        let single = |text: &str| {
            let mut chars = text.chars();
            let first = chars.next().filter(|c| !c.is_control() && !c.is_whitespace())?;
            chars.next().is_none().then_some(KeyCode::Char(first))
        };
        if let Some(rest) = lower.strip_prefix("ctrl-") {
            return single(rest).map(|code| Self { code, control: true });
        }
        let function = || {
            let n = lower.strip_prefix('f')?.parse().ok()?;
            (1..=12).contains(&n).then_some(KeyCode::F(n))
        };
        let named = NAMED.iter().find(|(name, _)| name.to_lowercase() == lower);
        let code = named.map(|(_, code)| *code).or_else(|| single(&lower)).or_else(function)?;
        Some(Self { code, control: false })
    }

    /// Parses names separated by blanks; `None` unless there is one and all are valid.
    pub fn parse_all(text: &str) -> Option<Vec<Self>> {
        let keys: Option<Vec<Self>> = text.split_whitespace().map(Self::parse).collect();
        keys.filter(|keys| !keys.is_empty())
    }
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let named = NAMED.iter().find(|(_, code)| *code == self.code);
        match (self.code, named) {
            (KeyCode::Char(c), _) if self.control => write!(f, "Ctrl-{}", c.to_ascii_uppercase()),
            (_, Some((name, _))) => f.write_str(name),
            (code, None) => write!(f, "{code}"),
        }
    }
}

/// Key bindings.
#[derive(Debug, Clone, PartialEq)]
pub struct Keymap {
    /// Keys of each entry of [`BINDINGS`].
    keys: Vec<Vec<Key>>,
}

impl Default for Keymap {
    fn default() -> Self {
        Self { keys: BINDINGS.iter().map(Binding::default_keys).collect() }
    }
}

impl Keymap {
    /// Applies the config's changes to the table. A change maps an action's name to its keys,
    /// separated by blanks.
    ///
    /// Errors: when a name is not an action, a key is invalid, or a key would have two meanings in
    /// a view; one sentence.
    pub fn new(changes: &BTreeMap<String, String>) -> Result<Self, String> {
        let mut map = Self::default();
        for (name, text) in changes {
            let Some(index) = BINDINGS.iter().position(|binding| binding.name == name) else {
                let names: Vec<&str> = BINDINGS.iter().map(|binding| binding.name).collect();
                return Err(format!("keys.{name}: expected one of {}", names.join(", ")));
            };
            map.keys[index] = Key::parse_all(text).ok_or_else(|| {
                format!(
                    "keys.{name} = {text:?}: expected keys between blanks, as in \"p\", \"Ctrl-P F5\" \
                     or \"Left Space\""
                )
            })?;
        }
        map.check()?;
        Ok(map)
    }

    fn check(&self) -> Result<(), String> {
        for (i, first) in BINDINGS.iter().enumerate() {
            for (j, second) in BINDINGS.iter().enumerate().skip(i + 1) {
                let both = self.keys[i].iter().find(|key| self.keys[j].contains(key));
                let meet = VIEWS.iter().any(|v| first.works_in(v.view) && second.works_in(v.view));
                if let (Some(key), true) = (both, meet) {
                    let (first, second) = (first.name, second.name);
                    return Err(format!(
                        "keys.{first} and keys.{second}: {key} cannot mean both; give one of them another"
                    ));
                }
            }
        }
        Ok(())
    }

    /// Action of `event` in `view`, if any.
    pub fn action(&self, event: &KeyEvent, view: View) -> Option<Action> {
        let key = Key::of(event)?;
        let bound = |(i, binding): &(usize, &Binding)| {
            binding.works_in(view) && self.keys[*i].contains(&key)
        };
        BINDINGS.iter().enumerate().find(bound).map(|(_, binding)| binding.action)
    }

    /// Help lines of `view`: the keys and the help text of each. `shared`: several processes train.
    pub fn lines(&self, view: View, shared: bool) -> Vec<(String, &'static str)> {
        let mut lines: Vec<(Vec<&Key>, &'static str)> = Vec::new();
        for (binding, keys) in BINDINGS.iter().zip(&self.keys) {
            let is_meant = binding.works_in(view) && (shared || !binding.action.is_of_workers());
            let Some(key) = keys.first().filter(|_| is_meant) else { continue };
            match (binding.help, lines.last_mut()) {
                ("", Some((line, _))) => line.push(key),
                (help, _) => lines.push((vec![key], help)),
            }
        }
        let text = |keys: Vec<&Key>| match keys.as_slice() {
            [first, .., last] if keys.len() > 2 => format!("{first} … {last}"),
            keys => keys.iter().map(|key| key.to_string()).collect::<Vec<_>>().join(" "),
        };
        lines.into_iter().map(|(keys, help)| (text(keys), help)).collect()
    }

    /// Table of all actions, one per line: name, keys, views and help text.
    pub fn table(&self) -> String {
        let mut lines = vec![format!("{:18} {:14} {:34} {}", "action", "keys", "where", "what")];
        let mut help = "";
        for (binding, keys) in BINDINGS.iter().zip(&self.keys) {
            let keys: Vec<String> = keys.iter().map(Key::to_string).collect();
            let place = match binding.views.len() {
                0 => "everywhere".into(),
                5.. => "almost everywhere".into(),
                _ => binding.views.iter().map(|view| view.name()).collect::<Vec<_>>().join(" "),
            };
            if !binding.help.is_empty() {
                help = binding.help;
            }
            lines.push(format!("{:18} {:14} {place:34} {help}", binding.name, keys.join(" ")));
        }
        lines.join("\n")
    }

    /// Label of a binding on the key line: its first key, and that of its opposite.
    pub fn label(&self, index: usize) -> String {
        let first = self.keys[index][0].to_string();
        match BINDINGS.get(index + 1) {
            Some(next) if next.help.is_empty() => format!("{first} {}", self.keys[index + 1][0]),
            _ => first,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::FoldAction;
    use crate::tui::action::OfFold;

    fn changed(pairs: &[(&str, &str)]) -> Result<Keymap, String> {
        let pairs = pairs.iter().map(|(name, keys)| (name.to_string(), keys.to_string()));
        Keymap::new(&pairs.collect())
    }

    #[test]
    fn every_key_means_one_thing_in_a_view_and_is_found() {
        let map = changed(&[]).unwrap();
        for binding in BINDINGS.iter() {
            assert!(!binding.default_keys().is_empty(), "{}", binding.name);
            for key in binding.default_keys() {
                for view in VIEWS.map(|v| v.view).into_iter().filter(|v| binding.works_in(*v)) {
                    assert_eq!(map.action(&key.event(), view), Some(binding.action));
                }
                assert_eq!(Key::parse(&key.to_string()), Some(key), "{key}");
            }
        }
    }

    #[test]
    fn control_and_alt_are_no_plain_keys() {
        let map = Keymap::default();
        let with = |m| map.action(&KeyEvent::new(KeyCode::Char('n'), m), View::Folds);
        assert_eq!(with(KeyModifiers::CONTROL), None);
        assert_eq!(with(KeyModifiers::ALT), None);
        assert_eq!(with(KeyModifiers::SHIFT), Some(Action::Fold(OfFold::Act(FoldAction::Skip))));
    }

    #[test]
    fn keys_can_be_others() {
        let map = changed(&[("pause", "Space F5"), ("quit", "Ctrl-Q")]).unwrap();
        let press = |text: &str| map.action(&Key::parse(text).unwrap().event(), View::Overview);
        assert_eq!(press("F5"), Some(Action::TogglePause));
        assert_eq!(press("ctrl-q"), Some(Action::Quit));
        assert_eq!((press("p"), press("q")), (None, None));
    }

    #[test]
    fn what_cannot_be_is_refused_by_name() {
        let no = |pairs: &[(&str, &str)]| changed(pairs).unwrap_err();
        assert!(no(&[("paws", "p")]).starts_with("keys.paws: expected one of pause, "));
        assert!(no(&[("pause", "")]).starts_with("keys.pause = \"\": expected keys"));
        assert!(no(&[("pause", "F99")]).contains("F99"));
        assert_eq!(
            no(&[("pause", "q")]),
            "keys.pause and keys.quit: q cannot mean both; give one of them another"
        );
        // A key may have different meanings in different views.
        assert!(changed(&[("log_level", "f")]).is_ok());
    }
}
