//! `/dev/mail`: the mails of a local process that has no mail server, for its developer alone.
//!
//! They hold links that sign people in, so they are shown to whoever sits at this machine and to nobody
//! else: the other end of the connection must be this machine, nothing may say that a proxy stands
//! between, and the Host must be a name of this machine's own, which also keeps pages of rebound names
//! out. To all others there is nothing here.

use std::net::IpAddr;

use axum::Router;
use axum::extract::{Path, Request, State};
use axum::middleware::{Next, from_fn};
use axum::response::{AppendHeaders, Html, IntoResponse, Response};
use axum::routing::get;
use http::{HeaderMap, Uri, header};
use shared::client_address;
use shared::mail::Captured;
use shared::mail::captured::CapturedMail;
use shared::problem::{Code, Problem, Result};

/// What proxies add; any of them means that the client is somebody else than the peer.
const OF_PROXIES: [&str; 6] = [
    "forwarded",
    "via",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-real-ip",
    "cloudfront-viewer-address",
];

/// Nothing but the pages' own style may be used, and nothing they hold may run.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; frame-src 'self'; \
                      frame-ancestors 'self'; form-action 'none'; base-uri 'none'";

/// The style of both pages.
const STYLE: &str = "<!doctype html><html lang=en><meta charset=utf-8>\
                     <meta name=viewport content='width=device-width, initial-scale=1'><style>\
                     :root{color-scheme:light dark}body{font:1rem/1.6 system-ui,sans-serif;max-width:50rem;\
                     margin:2rem auto;padding:0 1rem}pre{white-space:pre-wrap;overflow-wrap:anywhere}\
                     iframe{width:100%;height:24rem;border:1px solid}</style>";

/// The routes of the pages.
pub fn router(captured: Captured) -> Router {
    Router::new()
        .route("/dev/mail", get(list))
        .route("/dev/mail/{number}", get(view))
        .route("/dev/mail/{number}/html", get(html))
        .with_state(captured)
        .layer(from_fn(only_here))
}

/// `GET /dev/mail` → 200, the mails, newest first.
async fn list(State(captured): State<Captured>) -> Response {
    let mut page = format!("{STYLE}<title>Mail</title><h1>Mail</h1>");
    let mails = captured.all();
    if mails.is_empty() {
        page += "<p>None yet. Without SMTP_URL they are shown here instead of sent.";
    }
    let items = mails.iter().rev().map(|CapturedMail { number, to, subject, at, .. }| {
        let (to, subject) = (escape(to), escape(subject));
        format!("<li><a href='/dev/mail/{number}'>{subject}</a> to {to}, {at}")
    });
    page += "<ul>";
    page.extend(items);
    answer(page + "</ul></html>")
}

/// `GET /dev/mail/{number}` → 200, one mail.
async fn view(State(captured): State<Captured>, Path(number): Path<String>) -> Result<Response> {
    let CapturedMail { number, to, subject, text, at, .. } = find(&captured, &number)?;
    let (to, subject) = (escape(&to), escape(&subject));
    let lines = text.lines().map(|line| {
        let safe = escape(line);
        let is_link = line.starts_with("http://") || line.starts_with("https://");
        if is_link { format!("<a href='{safe}'>{safe}</a>\n") } else { format!("{safe}\n") }
    });
    let text: String = lines.collect();
    let page = format!(
        "{STYLE}<title>{subject}</title><p><a href='/dev/mail'>All mail</a><h1>{subject}</h1>\
         <p>To {to}, {at}<pre>{text}</pre>\
         <iframe sandbox title='As HTML' src='/dev/mail/{number}/html'></iframe></html>"
    );
    Ok(answer(page))
}

/// `GET /dev/mail/{number}/html` → 200, its HTML form alone.
async fn html(State(captured): State<Captured>, Path(number): Path<String>) -> Result<Response> {
    Ok(answer(find(&captured, &number)?.html))
}

fn find(captured: &Captured, number: &str) -> Result<CapturedMail> {
    let mail = number.parse().ok().and_then(|number| captured.find(number));
    mail.ok_or_else(|| Problem::new(Code::NotFound))
}

fn answer(page: String) -> Response {
    let headers = [
        ("content-security-policy", POLICY),
        ("referrer-policy", "no-referrer"),
        ("cache-control", "no-store"),
    ];
    (AppendHeaders(headers), Html(page)).into_response()
}

async fn only_here(request: Request, next: Next) -> Response {
    let peer = client_address::peer(request.extensions());
    let here = peer.is_ok_and(|peer| peer.0.is_loopback());
    let proxied = OF_PROXIES.iter().any(|name| request.headers().contains_key(*name));
    if here && !proxied && is_own_name(request.headers(), request.uri()) {
        next.run(request).await
    } else {
        Problem::new(Code::NotFound).into_response()
    }
}

/// Whether the Host is a name that no other machine has.
fn is_own_name(headers: &HeaderMap, uri: &Uri) -> bool {
    let header = headers.get(header::HOST).and_then(|value| value.to_str().ok());
    let host = header.or_else(|| uri.authority().map(http::uri::Authority::as_str));
    let Some(Ok(authority)) = host.map(str::parse::<http::uri::Authority>) else { return false };
    let name = authority.host();
    let address = name.trim_matches(['[', ']']).parse::<IpAddr>();
    name.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
}

fn escape(text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    text.replace('\'', "&#39;").replace('"', "&quot;")
}
