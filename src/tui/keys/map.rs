//! Key bindings after applying the config's changes.

use super::{Action, BINDINGS, Binding, Scope};
use crate::tui::views::{VIEWS, View};
use crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use std::collections::BTreeMap;

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
    /// A character key.
    pub const fn char(c: char) -> Self {
        Self { code: KeyCode::Char(c), control: false }
    }

    /// A key that produces no character.
    pub const fn code(code: KeyCode) -> Self {
        Self { code, control: false }
    }

    /// A character key with Ctrl.
    pub const fn control(c: char) -> Self {
        Self { code: KeyCode::Char(c), control: true }
    }

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
        if let Some(rest) = lower.strip_prefix("ctrl-") {
            let mut chars = rest.chars();
            return match (chars.next(), chars.next()) {
                (Some(c), None) if !c.is_control() => Some(Self::control(c)),
                _ => None,
            };
        }
        if let Some((_, code)) = NAMED.iter().find(|(name, _)| name.to_lowercase() == lower) {
            return Some(Self::code(*code));
        }
        if let Some(n) = lower.strip_prefix('f').and_then(|n| n.parse::<u8>().ok()) {
            return (1..=12).contains(&n).then_some(Self::code(KeyCode::F(n)));
        }
        let mut chars = lower.chars();
        match (chars.next(), chars.next()) {
            (Some(c), None) if !c.is_control() && !c.is_whitespace() => Some(Self::char(c)),
            _ => None,
        }
    }
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let named = NAMED.iter().find(|(_, code)| *code == self.code);
        match (self.code, named) {
            (KeyCode::Char(c), _) if self.control => write!(f, "Ctrl-{}", c.to_ascii_uppercase()),
            (_, Some((name, _))) => f.write_str(name),
            (KeyCode::Char(c), None) => write!(f, "{c}"),
            (KeyCode::F(n), None) => write!(f, "F{n}"),
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
        Self { keys: BINDINGS.iter().map(|binding| binding.keys.to_vec()).collect() }
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
            let keys: Option<Vec<Key>> = text.split_whitespace().map(Key::parse).collect();
            map.keys[index] = keys.filter(|keys| !keys.is_empty()).ok_or_else(|| {
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
                if let (Some(key), true) = (both, first.scope.meets(second.scope)) {
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
            binding.scope.holds(view) && self.keys[*i].contains(&key)
        };
        BINDINGS.iter().enumerate().find(bound).map(|(_, binding)| binding.action)
    }

    /// Help lines of `view`: the keys and the help text of each.
    pub fn lines(&self, view: View) -> Vec<(String, &'static str)> {
        let mut lines: Vec<(Vec<&Key>, &'static str)> = Vec::new();
        for (binding, keys) in BINDINGS.iter().zip(&self.keys) {
            let Some(key) = keys.first().filter(|_| binding.scope.holds(view)) else { continue };
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
            let place = match binding.scope {
                Scope::ALL => "everywhere".into(),
                scope => {
                    let views = VIEWS.into_iter().filter(|&view| scope.holds(view));
                    let names: Vec<&str> = views.map(View::name).collect();
                    if names.len() > 4 { "almost everywhere".into() } else { names.join(" ") }
                }
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
    use crate::tui::keys::OfFold;

    fn changed(pairs: &[(&str, &str)]) -> Result<Keymap, String> {
        let pairs = pairs.iter().map(|(name, keys)| (name.to_string(), keys.to_string()));
        Keymap::new(&pairs.collect())
    }

    #[test]
    fn every_key_means_one_thing_in_a_view_and_is_found() {
        let map = changed(&[]).unwrap();
        for binding in BINDINGS {
            for key in binding.keys {
                for view in VIEWS.into_iter().filter(|&view| binding.scope.holds(view)) {
                    assert_eq!(map.action(&key.event(), view), Some(binding.action));
                }
                assert_eq!(Key::parse(&key.to_string()), Some(*key), "{key}");
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
