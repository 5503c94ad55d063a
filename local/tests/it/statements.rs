//! Counts the statements that a test causes.

use std::sync::{Arc, Mutex};

use tracing::field::{Field, Visit};
use tracing::span;
use tracing::{Dispatch, Event, Metadata, Subscriber};

/// Remembers the statements that sqlx logs on this thread, on which the whole test runs.
#[derive(Clone, Default)]
pub(crate) struct Statements(Arc<Mutex<Vec<String>>>);

impl Statements {
    /// Counts on this thread until the second of the pair is dropped.
    pub(crate) fn count() -> (Self, impl Sized) {
        let statements = Self::default();
        // While there is one subscriber, tracing asks the thread that first meets a statement, which
        // under `cargo test` may be another test's and without one, and never asks again. With two it
        // asks both.
        let second = Dispatch::new(statements.clone());
        let counting = tracing::subscriber::set_default(statements.clone());
        (statements, (second, counting))
    }

    /// What was run since the last asking.
    pub(crate) fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

struct Summary<'a>(&'a mut Vec<String>);

impl Visit for Summary<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "summary" {
            self.0.push(value.to_owned());
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn std::fmt::Debug) {}
}

impl Subscriber for Statements {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "sqlx::query"
    }

    fn event(&self, event: &Event<'_>) {
        event.record(&mut Summary(&mut self.0.lock().unwrap()));
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}
