//! The `cargo dev` commands.

mod admin;
pub mod aws_tools;
mod check_rooms;
mod create_user;
mod db;
mod import;
mod keys;
mod new_epoch;
mod openapi;
mod openapi_tools;
mod owner;
mod pip_tools;
mod prepare;
mod redis;
mod rotate_keys;
mod runner;
mod services;
mod smtp;
mod test;
mod web;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use shared::settings::Reader;

use crate::progress::say;
use crate::store::Choice;

/// What the command line says.
#[derive(Debug, Parser)]
#[command(name = "cargo dev", bin_name = "cargo dev", about = "What developers of Keywire run")]
struct Arguments {
    /// Which command.
    #[command(subcommand)]
    command: Command,
}

/// Each command, with its own arguments.
#[derive(Debug, Subcommand)]
enum Command {
    /// Run the tests with everything they need.
    Test(test::Arguments),
    /// Run any command with what the tests need: a debugger, psql, one test over and over.
    With(test::Given),
    /// Look for what rooms lose while everything around them breaks.
    CheckRooms(check_rooms::Arguments),
    /// Run the database alone, for `cargo lambda watch`.
    Db,
    /// Make a set of keys for a database given by `DATABASE_URL`.
    Keys(keys::Arguments),
    /// Make the next signing key current, and new ones; nobody is signed out.
    RotateKeys,
    /// Import the accounts of another app with their bcrypt hashes.
    ImportUsers(import::Arguments),
    /// Give a user the role `admin`.
    GrantAdmin(admin::Arguments),
    /// Make an account, and a link to set its password.
    CreateUser(create_user::Arguments),
    /// After a backup was restored: no client goes on from a position of before.
    NewEpoch,
    /// Write docs/openapi.json anew from the code.
    Openapi,
    /// Write `.sqlx/` anew from the queries, so that they compile without a database.
    Prepare(prepare::Arguments),
}

/// Runs the command that the command line names.
///
/// # Errors
/// If it cannot do its work; that a test failed is an exit code, not an error.
pub async fn run() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    let mut reader = Reader::from_env();
    let choice = Choice::read(&mut reader);
    reader.finish()?;
    let machine = &choice.machine;
    match arguments.command {
        Command::Test(arguments) => test::test(machine, arguments).await,
        Command::With(given) => test::with(machine, given).await,
        Command::CheckRooms(arguments) => check_rooms::check_rooms(machine, arguments).await,
        Command::Db => db::db(&choice).await,
        Command::Keys(arguments) => keys::keys(&choice, &arguments).await,
        Command::RotateKeys => rotate_keys::rotate_keys(&choice).await,
        Command::ImportUsers(arguments) => import::import_users(&choice, &arguments).await,
        Command::GrantAdmin(arguments) => admin::grant_admin(&choice, &arguments).await,
        Command::CreateUser(arguments) => create_user::create_user(&choice, &arguments).await,
        Command::NewEpoch => new_epoch::new_epoch(&choice).await,
        Command::Openapi => openapi::openapi(),
        Command::Prepare(arguments) => prepare::prepare(machine, arguments).await,
    }
}
