//! Settings that cannot work, alone or together.

use super::*;

#[test]
fn lambda_refuses_to_run_without_limits() {
    let off = [("LIMIT_LOGIN_ADDRESS", "off"), ("LOCK_STOP", "off")];
    let mut reader = Reader::from_pairs(off);
    let settings = Settings::read(&mut reader, Platform::Process);
    assert!(reader.finish().is_ok());
    assert_eq!(settings.limits_off(), ["LIMIT_LOGIN_ADDRESS", "LOCK_STOP"]);
    let mut reader = Reader::from_pairs(off);
    Settings::read(&mut reader, Platform::Lambda);
    assert_eq!(reader.finish().unwrap_err().0.len(), 2);
}

#[test]
fn every_limit_that_is_off_is_told() {
    let mut reader = Reader::from_pairs([("", ""); 0]);
    Settings::read(&mut reader, Platform::Process);
    let names = reader.variables().iter().map(|variable| variable.name);
    let mut limits: Vec<_> = names.filter(|name| name.starts_with("LIMIT_")).collect();
    limits.extend(["LOCK_AFTER", "LOCK_STOP"]);
    let mut reader = Reader::from_pairs(limits.iter().map(|name| (*name, "off")));
    let mut off = Settings::read(&mut reader, Platform::Process).limits_off();
    reader.finish().unwrap();
    off.sort_unstable();
    limits.sort_unstable();
    assert_eq!(off, limits);
}

#[test]
fn values_that_contradict_each_other_are_refused_together() {
    let mut reader = Reader::from_pairs([("LOCK_FORGET", "10min")]);
    Settings::read(&mut reader, Platform::Process);
    let told = reader.finish().unwrap_err().0;
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[0].starts_with("LOCK_MAX: at most LOCK_FORGET"), "{told:?}");
    assert!(told[1].starts_with("LOCK_STOP_RETRY: at most LOCK_FORGET"), "{told:?}");
}

#[test]
fn values_that_cannot_work_are_refused_together() {
    let wrong = [
        ("BCRYPT_COST", "16"),
        ("PASSWORD_MIN", "0"),
        ("REGISTRATION", "yes"),
        ("PASSWORD_POLICY", "harsh"),
        ("ACCESS_TOKEN_LIFETIME", "400d"),
        ("SESSION_ABSOLUTE", "100000y"),
        ("BODY_BYTES", "16 EiB"),
        ("BODY_TIMEOUT", "0"),
        ("LOCK_AFTER", "0"),
        ("LOCK_MAX", "2d"),
        ("LOCK_STOP_RETRY", "2d"),
        ("LIMIT_PASSKEY_ADDRESS", "2"),
        ("PASSKEYS_MAX", "0"),
        ("RECENT_SIGN_IN", "2d"),
        ("CHALLENGE_LIFETIME", "1s"),
        ("SECOND_FACTOR_TRIES", "0"),
        ("LOCK_REMEMBERED", "1h"),
        ("REFUSALS_REMEMBERED", "1"),
        ("JWKS_MAX_AGE", "1h"),
        ("TOKEN_LEEWAY", "1h"),
        ("KEYS_MAX_AGE", "0"),
        ("KEYS_RELOAD_PAUSE", "0"),
        ("KEYS_RETRY_PAUSE", "1h"),
        ("PREFLIGHT_MAX_AGE", "48h"),
        ("LIMIT_LOGIN_ADDRESS", "60"),
        ("LIMIT_REFRESH_ADDRESS", "60"),
        ("REFRESH_GRACE", "1h"),
        ("PUBLIC_URL", "localhost:8080"),
        ("ALLOWED_ORIGINS", "https://a.example/path"),
        ("HOST_CHECK", "yes"),
        ("CLIENT_ADDRESS", "x-forwarded-for"),
        ("ORIGIN_VERIFY", "short"),
    ];
    let mut reader = Reader::from_pairs(wrong);
    Settings::read(&mut reader, Platform::Process);
    let told = reader.finish().unwrap_err().0;
    for (name, _) in wrong {
        assert!(told.iter().any(|sentence| sentence.contains(name)), "{name}: {told:?}");
    }
}
