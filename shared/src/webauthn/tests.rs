//! Both ceremonies against an authenticator in software, and everything that can be wrong with them.

mod authenticator;

use authenticator::{Authenticator, PRESENT_AND_VERIFIED, attestation};
use proptest::prelude::*;

use super::*;
use crate::challenge::CHALLENGE_BYTES;

const ORIGIN: &str = "https://app.example.com";
const PARTY: &str = "app.example.com";
const USER: &[u8] = b"the user's handle";
const CHALLENGE: [u8; CHALLENGE_BYTES] = [7; CHALLENGE_BYTES];

fn party() -> RelyingParty {
    RelyingParty::of(&Url::parse("https://app.example.com/some/page").unwrap()).unwrap()
}

fn both() -> [Authenticator; 2] {
    [Authenticator::es256(ORIGIN, PARTY), Authenticator::eddsa(ORIGIN, PARTY)]
}

fn register(authenticator: &Authenticator) -> Result<Credential, Refused> {
    let (client_data, attestation) = authenticator.create(&CHALLENGE);
    let registration = Registration { client_data, attestation };
    registration.answered(&party())?;
    registration.verify(&party())
}

fn assertion(authenticator: &Authenticator) -> Assertion {
    let (client_data, authenticator_data, signature) = authenticator.get(&CHALLENGE);
    let (credential_id, user) = (authenticator.id.clone(), USER.to_vec());
    Assertion { credential_id, client_data, authenticator_data, signature, user }
}

fn verify(assertion: &Assertion, credential: &Credential) -> Result<u32, Refused> {
    let answered = assertion.answered(&party())?;
    assert_eq!(answered.challenge, CHALLENGE.into());
    assertion.verify(&answered, (credential, USER), &party())
}

/// What is said of a sign-in after something was changed, for both algorithms.
fn changed(change: impl Fn(&mut Authenticator)) -> [Result<u32, Refused>; 2] {
    both().map(|mut authenticator| {
        let credential = register(&authenticator).unwrap();
        change(&mut authenticator);
        verify(&assertion(&authenticator), &credential)
    })
}

#[test]
fn a_passkey_is_registered_and_signs_in_with_either_algorithm() {
    for mut authenticator in both() {
        let credential = register(&authenticator).unwrap();
        assert_eq!((credential.id.as_slice(), credential.sign_count), (&*authenticator.id, 1));
        authenticator.count = 2;
        assert_eq!(verify(&assertion(&authenticator), &credential), Ok(2));
    }
}

#[test]
fn a_wrong_origin_is_refused() {
    for origin in [
        "https://evil.example",
        "http://app.example.com",
        "https://app.example.com:8443",
        "https://sub.app.example.com",
        "https://app.example.com.evil.example",
        "null",
        "",
    ] {
        let of = |authenticator: &mut Authenticator| authenticator.origin = origin.to_owned();
        assert_eq!(changed(of), [Err(Refused::Origin); 2], "{origin}");
    }
}

#[test]
fn a_frame_of_another_origin_is_refused() {
    let [es256, _] = both();
    let text = String::from_utf8(es256.client_data("webauthn.get", &CHALLENGE)).unwrap();
    let framed = text.replace("\"crossOrigin\":false", "\"crossOrigin\":true");
    assert_eq!(answered(framed.as_bytes(), "webauthn.get", &party()), Err(Refused::Origin));
}

#[test]
fn a_wrong_relying_party_is_refused() {
    let of = |authenticator: &mut Authenticator| authenticator.party = "example.com".to_owned();
    assert_eq!(changed(of), [Err(Refused::RelyingParty); 2]);
    let [mut es256, _] = both();
    es256.party = "localhost".to_owned();
    assert_eq!(register(&es256), Err(Refused::RelyingParty));
}

#[test]
fn the_other_ceremonys_type_is_refused() {
    let [es256, _] = both();
    let credential = register(&es256).unwrap();
    let mut swapped = assertion(&es256);
    swapped.client_data = es256.client_data("webauthn.create", &CHALLENGE);
    swapped.signature = es256.sign(&swapped.authenticator_data, &swapped.client_data);
    assert_eq!(verify(&swapped, &credential), Err(Refused::Type));
    let (_, attestation) = es256.create(&CHALLENGE);
    let client_data = es256.client_data("webauthn.get", &CHALLENGE);
    let registration = Registration { client_data, attestation };
    assert_eq!(registration.answered(&party()), Err(Refused::Type));
}

#[test]
fn presence_and_verification_of_the_user_are_both_needed() {
    for (flags, refused) in [
        (0, Refused::UserPresence),
        (1 << 2, Refused::UserPresence),
        (1, Refused::UserVerification),
        (PRESENT_AND_VERIFIED | 1 << 4, Refused::Flags),
        (PRESENT_AND_VERIFIED | 1 << 3, Refused::Flags),
    ] {
        let of = |authenticator: &mut Authenticator| authenticator.flags = flags;
        assert_eq!(changed(of), [Err(refused); 2], "{flags:b}");
    }
    let [mut es256, _] = both();
    es256.flags = 1;
    assert_eq!(register(&es256), Err(Refused::UserVerification));
}

#[test]
fn a_signature_of_another_key_or_over_something_else_is_refused() {
    for [authenticator, other] in [both(), both()] {
        let credential = register(&authenticator).unwrap();
        let good = assertion(&authenticator);
        let mut cases = vec![other.get(&CHALLENGE).2, Vec::new()];
        cases.push(authenticator.sign(&good.authenticator_data, b"{}"));
        cases.push(good.signature[1..].to_vec());
        for signature in cases {
            let forged = Assertion { signature, ..assertion(&authenticator) };
            assert_eq!(verify(&forged, &credential), Err(Refused::Signature));
        }
    }
}

#[test]
fn another_users_passkey_is_refused() {
    let [es256, eddsa] = both();
    let credential = register(&es256).unwrap();
    let foreign = Assertion { user: b"another".to_vec(), ..assertion(&es256) };
    assert_eq!(verify(&foreign, &credential), Err(Refused::User));
    assert_eq!(verify(&assertion(&eddsa), &credential), Err(Refused::User));
}

#[test]
fn every_changed_byte_is_noticed() {
    for mut authenticator in both() {
        let credential = register(&authenticator).unwrap();
        authenticator.count = 2;
        let good = assertion(&authenticator);
        for at in 0..good.authenticator_data.len() {
            let mut bad = assertion(&authenticator);
            bad.authenticator_data[at] ^= 1;
            assert!(verify(&bad, &credential).is_err(), "authenticator data, byte {at}");
        }
        for at in 0..good.client_data.len() {
            let mut bad = assertion(&authenticator);
            bad.client_data[at] ^= 1;
            let answered = bad.answered(&party());
            let verified =
                answered.map(|answered| bad.verify(&answered, (&credential, USER), &party()));
            assert!(!matches!(verified, Ok(Ok(_))), "client data, byte {at}");
        }
    }
}

#[test]
fn a_counter_that_does_not_grow_is_refused_unless_there_is_none() {
    for (old, new, expected) in [
        (1, 2, Ok(2)),
        (5, 5, Err(Refused::Counter)),
        (5, 4, Err(Refused::Counter)),
        (5, 0, Err(Refused::Counter)),
        (0, 1, Ok(1)),
        (0, 0, Ok(0)),
        (1, u32::MAX, Ok(u32::MAX)),
    ] {
        let [mut es256, _] = both();
        es256.count = old;
        let credential = register(&es256).unwrap();
        es256.count = new;
        assert_eq!(verify(&assertion(&es256), &credential), expected, "{old} to {new}");
    }
}

#[test]
fn another_attestation_than_none_is_refused() {
    let [es256, _] = both();
    let (client_data, object) = es256.create(&CHALLENGE);
    let data = authenticator_data::of_attestation(&object).unwrap().to_vec();
    for (format, statement) in [("packed", &[0xa0][..]), ("none", &[0xa1, 1, 1])] {
        let attestation = attestation(format, statement, &data);
        let registration = Registration { client_data: client_data.clone(), attestation };
        assert_eq!(registration.verify(&party()), Err(Refused::Attestation), "{format}");
    }
}

#[test]
fn what_is_too_long_is_not_read() {
    let [es256, _] = both();
    let credential = register(&es256).unwrap();
    let (client_data, mut attestation) = es256.create(&CHALLENGE);
    attestation.resize(ATTESTATION_MAX_BYTES + 1, 0);
    let registration = Registration { client_data, attestation };
    assert_eq!(registration.verify(&party()), Err(Refused::Malformed));
    let mut long = assertion(&es256);
    long.client_data.resize(CLIENT_DATA_MAX_BYTES + 1, b' ');
    assert_eq!(long.answered(&party()), Err(Refused::ClientData));
    let mut long = assertion(&es256);
    long.signature.resize(SIGNATURE_MAX_BYTES + 1, 0);
    assert_eq!(verify(&long, &credential), Err(Refused::Malformed));
    let mut es256 = es256;
    es256.id = vec![1; CREDENTIAL_ID_MAX_BYTES + 1];
    assert_eq!(register(&es256), Err(Refused::Malformed));
}

#[test]
fn keys_of_other_kinds_and_off_the_curve_are_refused() {
    let point = |byte: u8| [&[0x58, 32][..], &[byte; 32]].concat();
    let es256 = [0xa5, 1, 2, 3, 0x26, 0x20, 1, 0x21];
    let off_curve = [&es256[..], &point(1), &[0x22], &point(1)].concat();
    assert_eq!(PublicKey::parse(&off_curve), Err(Refused::Key));
    let with = |head: &[u8]| PublicKey::parse(&[head, &point(1), &[0x22], &point(1)].concat());
    // ES384's number, P-384, RSA, and one parameter too many.
    for head in [
        [0xa5, 1, 2, 3, 0x29, 0x20, 1, 0x21],
        [0xa5, 1, 2, 3, 0x26, 0x20, 2, 0x21],
        [0xa5, 1, 3, 3, 0x26, 0x20, 1, 0x21],
        [0xa6, 1, 2, 3, 0x26, 0x20, 1, 0x21],
    ] {
        assert_eq!(with(&head), Err(Refused::Key), "{head:x?}");
    }
    // In another order, a private parameter in place of a public one, a coordinate cut short.
    for cose in [
        [&[0xa5, 3, 0x26, 1, 2, 0x20, 1, 0x21][..], &point(1), &[0x22], &point(1)].concat(),
        [&[0xa5, 1, 2, 3, 0x26, 0x20, 1, 0x21][..], &point(1), &[0x23], &point(1)].concat(),
        [&[0xa4, 1, 1, 3, 0x27, 0x20, 6, 0x21, 0x58, 31][..], &[1; 31]].concat(),
        [&[0xa4, 1, 1, 3, 0x27, 0x20, 6, 0x21][..], &point(1), &[0]].concat(),
    ] {
        assert_eq!(PublicKey::parse(&cose), Err(Refused::Malformed), "{cose:x?}");
    }
}

#[test]
fn extensions_are_passed_over_and_nothing_else_may_follow() {
    let [mut es256, _] = both();
    let credential = register(&es256).unwrap();
    es256.count = 2;
    let follow = |flag: u8, more: &[u8]| {
        let mut longer = assertion(&es256);
        longer.authenticator_data[32] |= flag;
        longer.authenticator_data.extend_from_slice(more);
        longer.signature = es256.sign(&longer.authenticator_data, &longer.client_data);
        verify(&longer, &credential)
    };
    // {"credProtect": 1}
    let extensions = [&[0xa1, 0x6b][..], b"credProtect", &[1]].concat();
    assert_eq!(follow(1 << 7, &extensions), Ok(2));
    assert_eq!(follow(1 << 7, &[&extensions[..], &[0]].concat()), Err(Refused::Malformed));
    assert_eq!(follow(1 << 7, &[]), Err(Refused::Malformed));
    assert_eq!(follow(0, &extensions), Err(Refused::Malformed));
    let nested = [vec![0x81; 900], vec![0]].concat();
    assert_eq!(follow(1 << 7, &nested), Ok(2), "depth costs no stack");
}

#[test]
fn passkeys_need_a_host_that_is_a_name() {
    let of = |url: &str| RelyingParty::of(&Url::parse(url).unwrap());
    assert_eq!(of("http://localhost:8080").unwrap().id(), "localhost");
    for url in ["http://127.0.0.1:8080", "https://[::1]/", "data:text/plain,x"] {
        assert_eq!(of(url), None, "{url}");
    }
}

/// Something near a good attestation object: cut, lengthened, bytes changed.
fn near_attestations() -> impl Strategy<Value = Vec<u8>> {
    let (_, good) = Authenticator::es256(ORIGIN, PARTY).create(&CHALLENGE);
    let length = good.len();
    let changes = prop::collection::vec((0..length, any::<u8>()), 0..4);
    (changes, 0..=length, prop::collection::vec(any::<u8>(), 0..8)).prop_map(
        move |(changes, cut, more)| {
            let mut bytes = good.clone();
            for (at, byte) in changes {
                bytes[at] = byte;
            }
            bytes.truncate(cut);
            bytes.extend(more);
            bytes
        },
    )
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(
        noise in prop::collection::vec(any::<u8>(), 0..400),
        near in near_attestations(),
    ) {
        for bytes in [noise, near] {
            let registration = Registration { client_data: bytes.clone(), attestation: bytes.clone() };
            prop_assert!(registration.answered(&party()).is_err());
            // Whatever is said of it, it is said.
            let _verified = registration.verify(&party());
            let _key = PublicKey::parse(&bytes);
            let _data = AuthenticatorData::parse(&bytes);
        }
    }

    #[test]
    fn no_client_data_makes_it_panic(text in "\\PC{0,200}", challenge in "[A-Za-z0-9_=+/-]{0,60}") {
        let near = format!(r#"{{"type":"webauthn.get","challenge":"{challenge}","origin":"{ORIGIN}"}}"#);
        prop_assert!(answered(text.as_bytes(), "webauthn.get", &party()).is_err());
        let _answered = answered(near.as_bytes(), "webauthn.get", &party());
    }
}
