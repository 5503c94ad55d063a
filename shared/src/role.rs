//! Roles, and the permissions that each is a set of.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A named set of permissions.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Every account.
    Member,
    /// May moderate rooms.
    Moderator,
    /// May manage accounts.
    Admin,
}

/// What a route may ask for beyond a session. Whoever has no role with it is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Permission {
    /// `users:read`: see other accounts.
    UsersRead,
    /// `users:write`: change other accounts.
    UsersWrite,
    /// `audit:read`: see the audit log.
    AuditRead,
}

impl Role {
    /// Every role, the one with the fewest permissions first.
    pub const ALL: [Self; 3] = [Self::Member, Self::Moderator, Self::Admin];

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
        Self::ALL.into_iter().find(|role| role.as_str() == name)
    }

    /// What this role may do beyond what every session may.
    pub fn permissions(self) -> &'static [Permission] {
        match self {
            Self::Member | Self::Moderator => &[],
            Self::Admin => &[Permission::UsersRead, Permission::UsersWrite, Permission::AuditRead],
        }
    }
}

impl Permission {
    /// The name, like `users:read`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::UsersRead => "users:read",
            Self::UsersWrite => "users:write",
            Self::AuditRead => "audit:read",
        }
    }

    /// The names of the roles that have it, as statements ask for them.
    pub fn roles(self) -> Vec<String> {
        let holders = Role::ALL.into_iter().filter(|role| role.permissions().contains(&self));
        holders.map(|role| role.as_str().to_owned()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_admins_may_see_or_change_other_accounts() {
        for permission in [Permission::UsersRead, Permission::UsersWrite, Permission::AuditRead] {
            assert_eq!(permission.roles(), ["admin"], "{}", permission.as_str());
        }
    }
}
