//! Sets of keys.

use super::*;

const NOW: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;

#[test]
fn a_set_survives_its_file() {
    let keys = Keys::generate(NOW).unwrap();
    let again = Keys::parse(&keys.to_json().unwrap()).unwrap();
    let public = |keys: &Keys| keys.signing.current.public_key().unwrap();
    assert_eq!(public(&keys), public(&again));
    let pepper = |keys: &Keys| keys.pepper.keys[&keys.pepper.current].bytes().to_vec();
    assert_eq!(pepper(&keys), pepper(&again));
}

#[test]
fn no_two_sets_share_an_id() {
    let [one, other] = [(); 2].map(|()| Keys::generate(NOW).unwrap());
    assert!(!other.pepper.keys.contains_key(&one.pepper.current));
    assert!(one.signing.refresh.keys().all(|id| !other.signing.refresh.contains_key(id)));
}

#[test]
fn key_material_is_never_shown() {
    let keys = Keys::generate(NOW).unwrap();
    let text = serde_json::to_string(&keys.pepper.keys[&keys.pepper.current]).unwrap();
    assert!(!format!("{keys:?}").contains(text.trim_matches('"')));
    let error = Pepper::parse(&format!(r#"{{"current":"p1","keys":{text}}}"#)).unwrap_err();
    assert!(!error.to_string().contains(text.trim_matches('"')), "{error}");
}

#[test]
fn wrong_sets_are_refused() {
    let keys = Keys::generate(NOW).unwrap();
    let mut same = keys.signing.clone();
    same.next = same.current.clone();
    assert!(same.check().is_err(), "current and next are the same");
    let mut short = keys.pepper.clone();
    short.keys.insert(short.current.clone(), Key(Zeroizing::new(vec![1; 16])));
    assert!(short.check().is_err(), "128 bits");
    let mut gone = keys.pepper;
    gone.current = "p2".to_owned();
    assert!(gone.check().is_err(), "no such pepper");
    assert!(Signing::parse(r#"{"key":"x"}"#).is_err(), "another secret");
    assert!(Signing::parse("").is_err(), "empty");
}
