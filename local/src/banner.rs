//! What the process says when it is ready.

use std::fmt::Write as _;
use std::io::{self, Write as _};

/// What the banner tells.
#[derive(Debug)]
pub(crate) struct Banner<'a> {
    /// The port that answers.
    pub(crate) port: u16,
    /// Whether it is another one than usual, because that was taken.
    pub(crate) moved: bool,
    /// Whether `::1` answers too.
    pub(crate) ipv6: bool,
    /// Whether mails are shown instead of sent.
    pub(crate) mail: bool,
    /// Which database is used, and where its data is.
    pub(crate) database: &'a str,
}

impl Banner<'_> {
    /// The text, with a first request and a first socket to copy.
    fn text(&self) -> String {
        let Self { port, database, .. } = self;
        let http = format!("http://127.0.0.1:{port}");
        let mut text = format!("Keywire is ready: {http}");
        if self.ipv6 {
            write!(text, " (and http://[::1]:{port})").expect("a String takes everything");
        }
        if self.moved {
            text.push_str("\n  Port 8080 is taken by another program; PORT names another one.");
        }
        let mail =
            if self.mail { format!("\n  Mail       {http}/dev/mail") } else { String::new() };
        text + &format!(
            "
  API        {http}, and the same under {http}/api
  WebSocket  ws://127.0.0.1:{port}/ws{mail}
  Database   {database}

Try:
  curl -i -H 'Content-Type: application/json' -d '{{\"username\":\"example\",\"password\":\"password123\"}}' {http}/register
  websocat ws://127.0.0.1:{port}/ws

Ctrl-C ends it.
"
        )
    }

    /// Prints it.
    ///
    /// # Errors
    /// If standard output is closed.
    pub(crate) fn print(&self) -> io::Result<()> {
        let mut out = io::stdout().lock();
        out.write_all(self.text().as_bytes())?;
        out.flush()
    }
}
