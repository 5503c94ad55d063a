//! Roles.

use serde::{Deserialize, Serialize};

/// A named set of permissions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Every account.
    Member,
    /// May moderate rooms.
    Moderator,
    /// May manage accounts.
    Admin,
}

impl Role {
    /// The name in the database, tokens and bodies.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Member => "member",
            Self::Moderator => "moderator",
            Self::Admin => "admin",
        }
    }

    /// The role of this name.
    pub fn find(name: &str) -> Option<Self> {
        [Self::Member, Self::Moderator, Self::Admin].into_iter().find(|role| role.as_str() == name)
    }
}
