//! Settings: environment variables, parsed once at start, all wrong ones reported together.
//!
//! A crate describes its variables in its own `settings.rs` by asking a [`Reader`] for each one, with
//! its default and one line of documentation; `docs/configuration.md` is held equal to what was asked.

mod groups;
mod tokens;
mod value;

use std::collections::BTreeMap;
use std::fmt;

pub use groups::{Database, Http, Log, LogFormat, Origin, SecretsWaits};
pub use tokens::Tokens;
pub use value::{Bytes, Rate, Value};

/// Asks for variables by name and remembers what was asked and what was wrong.
#[derive(Debug)]
pub struct Reader {
    /// The environment as it was read; an empty value counts as not set.
    vars: BTreeMap<String, String>,
    /// Names of the variables whose value is not UTF-8.
    not_utf8: Vec<String>,
    /// Every variable asked for, in order.
    variables: Vec<Variable>,
    /// One sentence for each wrong value.
    wrong: Vec<String>,
}

/// A variable as `docs/configuration.md` shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variable {
    /// The name in the environment, like `PING_INTERVAL`.
    pub name: &'static str,
    /// The default as one would write it, or empty when there is none.
    pub default: String,
    /// What it does, and what raising or lowering it does.
    pub about: &'static str,
}

/// The wrong values found at start, all of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrongSettings(pub Vec<String>);

impl fmt::Display for WrongSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "wrong settings:")?;
        self.0.iter().try_for_each(|line| write!(f, "\n  {line}"))
    }
}

impl std::error::Error for WrongSettings {}

impl Reader {
    /// Reads this process's environment. A value that is not UTF-8 is wrong, if it is asked for.
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
    pub fn from_env() -> Self {
        let text = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
        let mut reader = Self::from_pairs(std::env::vars_os().map(|(k, v)| (text(k), text(v))));
        let odd = std::env::vars_os().filter(|(_, value)| value.to_str().is_none());
        reader.not_utf8 = odd.map(|(name, _)| text(name)).collect();
        reader
    }

    /// Reads given pairs, as tests and the `cargo dev` commands do.
    pub fn from_pairs<K, V>(pairs: impl IntoIterator<Item = (K, V)>) -> Self
    where
        K: Into<String>,
        V: Into<String>,
    {
        let pairs = pairs.into_iter().map(|(k, v)| (k.into(), v.into()));
        Self {
            vars: pairs.filter(|(_, v): &(_, String)| !v.trim().is_empty()).collect(),
            not_utf8: Vec::new(),
            variables: Vec::new(),
            wrong: Vec::new(),
        }
    }

    /// The variable's value, or its default. A wrong value is remembered and the default returned.
    ///
    /// # Panics
    /// If the default itself does not parse, which is a programming error.
    pub fn get<T: Value>(
        &mut self,
        name: &'static str,
        default: impl Into<String>,
        about: &'static str,
    ) -> T {
        let default = default.into();
        let given = self.given(name);
        let value = given.unwrap_or_else(|| {
            T::parse(&default).unwrap_or_else(|why| panic!("default of {name}: {why}"))
        });
        self.variables.push(Variable { name, default, about });
        value
    }

    /// As [`Reader::get`], within a range whose ends are written like the value itself. Outside it the
    /// value is wrong.
    ///
    /// # Panics
    /// If the default or an end does not parse, which is a programming error.
    pub fn get_in<T: Value + PartialOrd>(
        &mut self,
        name: &'static str,
        default: &'static str,
        (least, most): (&'static str, &'static str),
        about: &'static str,
    ) -> T {
        let value: T = self.get(name, default, about);
        let end = |text| T::parse(text).unwrap_or_else(|why| panic!("range of {name}: {why}"));
        if value < end(least) || value > end(most) {
            self.refuse(format!("{name}: {least} to {most}"));
        }
        value
    }

    /// The variable's value, if it is set.
    pub fn optional<T: Value>(&mut self, name: &'static str, about: &'static str) -> Option<T> {
        self.variables.push(Variable { name, default: String::new(), about });
        // What was wrong is remembered by `given`; there is no default to fall back to.
        self.vars.contains_key(name).then(|| self.given(name)).flatten()
    }

    /// The variable's value; its absence is reported with the others.
    ///
    pub fn required<T: Value + Default>(&mut self, name: &'static str, about: &'static str) -> T {
        if !self.vars.contains_key(name) {
            self.refuse(format!("{name} is not set: {about}"));
        }
        self.optional(name, about).unwrap_or_default()
    }

    /// Remembers a rule between settings that does not hold.
    pub fn refuse(&mut self, sentence: impl Into<String>) {
        self.wrong.push(sentence.into());
    }

    /// Whether the variable is set, whatever its value.
    pub fn is_set(&self, name: &str) -> bool {
        self.vars.contains_key(name)
    }

    /// Every variable asked for so far, for the documentation.
    pub fn variables(&self) -> &[Variable] {
        &self.variables
    }

    /// Ends the reading.
    ///
    /// # Errors
    /// [`WrongSettings`] with one line for each wrong value.
    pub fn finish(self) -> Result<(), WrongSettings> {
        if self.wrong.is_empty() { Ok(()) } else { Err(WrongSettings(self.wrong)) }
    }

    fn given<T: Value>(&mut self, name: &'static str) -> Option<T> {
        let text = self.vars.get(name)?.trim().to_owned();
        if self.not_utf8.iter().any(|odd| odd == name) {
            self.wrong.push(format!("{name}: not UTF-8"));
            return None;
        }
        match T::parse(&text) {
            Ok(value) => Some(value),
            // The text itself may be a secret put into the wrong variable, so it is not repeated.
            Err(why) => {
                self.wrong.push(format!("{name}: {why}"));
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn all_wrong_values_are_reported_together() {
        let mut reader = Reader::from_pairs([("A", "soon"), ("B", "-1"), ("C", "5s")]);
        let _a: Duration = reader.get("A", "1s", "");
        let _b: u32 = reader.get("B", "1", "");
        let c: Duration = reader.get("C", "1s", "");
        let _d: String = reader.required("D", "the address");
        assert_eq!(c, Duration::from_secs(5));
        let WrongSettings(wrong) = reader.finish().unwrap_err();
        assert_eq!(wrong.len(), 3, "{wrong:?}");
        assert!(wrong[0].starts_with("A: ") && wrong[1].starts_with("B: "));
        assert_eq!(wrong[2], "D is not set: the address");
    }

    #[test]
    fn an_empty_value_counts_as_not_set() {
        let mut reader = Reader::from_pairs([("A", " ")]);
        assert_eq!(reader.get::<u32>("A", "7", ""), 7);
        assert_eq!(reader.optional::<u32>("B", ""), None);
        assert!(reader.finish().is_ok());
    }
}
