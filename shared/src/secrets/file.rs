//! The file that holds a whole set of keys, on machines without Secrets Manager.

use std::path::Path;

use zeroize::Zeroizing;

use super::{Key, Keys, Secret, WrongKeys};

impl Keys {
    /// Reads a keys file.
    ///
    /// # Errors
    /// [`WrongKeys`] when it cannot be read or does not hold.
    pub fn read(path: &Path) -> Result<Self, WrongKeys> {
        let keys = Self::read_unchecked(path)?;
        keys.check_as(path)?;
        Ok(keys)
    }

    /// Reads a keys file as [`Keys::read`] does, and adds the key that a set made before second factors
    /// lacks. The second of the pair says whether it was added: then the file is to be written anew.
    ///
    /// # Errors
    /// [`WrongKeys`] when it cannot be read or does not hold.
    pub fn read_older(path: &Path) -> Result<(Self, bool), WrongKeys> {
        let mut keys = Self::read_unchecked(path)?;
        let added = keys.pepper.factors.is_missing();
        if added {
            keys.pepper.factors = Key::generate()?;
        }
        keys.check_as(path)?;
        Ok((keys, added))
    }

    /// The file's JSON text.
    ///
    /// # Errors
    /// When a time cannot be written, which no set made here has.
    pub fn to_json(&self) -> Result<Zeroizing<String>, WrongKeys> {
        let text = serde_json::to_string_pretty(self);
        text.map(Zeroizing::new).map_err(|error| WrongKeys(error.to_string()))
    }

    fn read_unchecked(path: &Path) -> Result<Self, WrongKeys> {
        let shown = path.display();
        let text = std::fs::read_to_string(path)
            .map_err(|error| WrongKeys(format!("{shown} cannot be read: {error}")))?;
        let text = Zeroizing::new(text);
        Self::parse_unchecked(&text).map_err(|why| WrongKeys(format!("{shown}: {why}")))
    }

    fn check_as(&self, path: &Path) -> Result<(), WrongKeys> {
        self.check().map_err(|why| WrongKeys(format!("{}: {why}", path.display())))
    }
}
