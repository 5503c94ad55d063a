//! The Lambda binaries and the template that deploys them, with AWS's own tools.
//!
//! `cargo dev test` installs the tools and says where in `TEST_AWS_TOOLS`.

mod template;
mod tools;
