//! The parameters of an address, `?name=value&…`.

use axum::extract::FromRequestParts;
use http::request::Parts;
use url::form_urlencoded;

use super::Invalid;
use crate::problem::{FieldError, Problem, Result};

/// Most parameters looked at; any more are refused. No setting: no route has half as many.
const MOST: usize = 20;
/// Longest value, in bytes. No setting: no route takes a longer one.
const LONGEST: usize = 512;

/// The parameters, taken one by one; what is wrong is reported together, each as `?name`.
#[derive(Debug)]
pub struct Parameters {
    pairs: Vec<(String, String)>,
    errors: Vec<FieldError>,
}

impl<S: Sync> FromRequestParts<S> for Parameters {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self> {
        let query = parts.uri.query().unwrap_or_default().as_bytes();
        let pairs = form_urlencoded::parse(query).into_owned().take(MOST + 1).collect();
        Ok(Self { pairs, errors: Vec::new() })
    }
}

impl Parameters {
    /// Takes a parameter that may be missing or empty, which is `Some(None)`; what is wrong with it is
    /// remembered.
    pub fn take<T>(
        &mut self,
        name: &str,
        parse: impl FnOnce(&str) -> std::result::Result<T, Invalid>,
    ) -> Option<Option<T>> {
        let at = self.pairs.iter().position(|(found, _)| found == name);
        let Some(at) = at else { return Some(None) };
        let (_, value) = self.pairs.remove(at);
        if value.is_empty() {
            return Some(None);
        }
        let parsed = if value.len() > LONGEST || value.contains('\0') {
            Err(Invalid::new("invalid_characters", "Use at most 512 bytes, and no NUL."))
        } else {
            parse(&value)
        };
        parsed.map(Some).map_err(|invalid| self.refuse(name, invalid)).ok()
    }

    /// Ends the taking: the value, if nothing was wrong and no parameter is left over.
    ///
    /// # Errors
    /// 422 `validation_failed` with one entry for each wrong parameter.
    pub fn finish<T>(mut self, value: Option<T>) -> Result<T> {
        for (name, _) in std::mem::take(&mut self.pairs) {
            let unknown = "Leave this parameter out; it is not known here, or was given twice.";
            let name: String = name.chars().take(LONGEST).collect();
            self.refuse(&name, Invalid::new("unknown_field", unknown));
        }
        match value {
            Some(value) if self.errors.is_empty() => Ok(value),
            _ => Err(Problem::validation(self.errors)),
        }
    }

    fn refuse(&mut self, name: &str, invalid: Invalid) {
        self.errors.push(invalid.at(format!("?{name}")));
    }
}
