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

#[test]
fn a_set_made_before_second_factors_is_refused_with_what_to_do_and_can_be_added_to() {
    let keys = Keys::generate(NOW).unwrap();
    let mut older: serde_json::Value = serde_json::from_str(&keys.to_json().unwrap()).unwrap();
    older["pepper"].as_object_mut().unwrap().remove("factors").unwrap();
    let file = std::env::temp_dir().join(format!("keys-{}.json", uuid::Uuid::new_v4()));
    std::fs::write(&file, older.to_string()).unwrap();
    let read = (Keys::read(&file), Keys::read_older(&file));
    std::fs::remove_file(&file).unwrap();
    let why = read.0.unwrap_err().to_string();
    assert!(why.contains("`factors` is missing") && why.contains("cargo dev keys FILE"), "{why}");
    let (added_to, added) = read.1.unwrap();
    assert!(added && added_to.pepper.factors.bytes().len() == KEY_BYTES);
    assert_eq!(added_to.pepper.current, keys.pepper.current);
    assert!(Keys::parse(&added_to.to_json().unwrap()).is_ok());
}
