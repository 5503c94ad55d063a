-- Second factors: authenticator apps, recovery codes, passkeys, and the challenges that tie their
-- steps together.

-- At most one app a user; it counts from its confirmation on.
CREATE TABLE totp (
    user_id      uuid PRIMARY KEY REFERENCES users ON DELETE CASCADE,
    id           uuid NOT NULL UNIQUE,
    -- The app's secret, sealed for this user and id (shared/src/second_factor/vault.rs).
    sealed       bytea NOT NULL,
    -- The last step whose code was taken: none up to it is taken again.
    last_step    bigint,
    created_at   timestamptz NOT NULL,
    confirmed_at timestamptz,
    last_used_at timestamptz
);

-- They belong to the app: made at its confirmation, gone with it.
CREATE TABLE recovery_codes (
    user_id uuid NOT NULL REFERENCES totp ON DELETE CASCADE,
    mac     bytea NOT NULL,
    used_at timestamptz,
    PRIMARY KEY (user_id, mac)
);

CREATE TABLE passkeys (
    id            uuid PRIMARY KEY,
    user_id       uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    credential_id bytea NOT NULL CONSTRAINT passkeys_credential_taken UNIQUE,
    -- COSE: -7 is ES256 with an uncompressed point, -8 is EdDSA with 32 bytes of Ed25519.
    algorithm     integer NOT NULL CHECK (algorithm IN (-7, -8)),
    public_key    bytea NOT NULL,
    -- The authenticator's counter at its last use; 0 for those that have none.
    sign_count    bigint NOT NULL,
    -- Whether it may be copied to other devices, which never changes.
    backup_eligible boolean NOT NULL,
    name          text NOT NULL,
    created_at    timestamptz NOT NULL,
    last_used_at  timestamptz
);
CREATE INDEX passkeys_user_id ON passkeys (user_id);

-- What was given to a client to be brought back once, soon; the hash of it, so that a dump of the
-- database takes nobody past the password.
CREATE TABLE challenges (
    hash       bytea PRIMARY KEY,
    kind       text NOT NULL CHECK (kind IN ('second_factor', 'passkey_login', 'passkey_enrolment')),
    -- Whose it is; null before a passkey says who signs in.
    user_id    uuid REFERENCES users ON DELETE CASCADE,
    -- second_factor: the password that was right, by its time; with another one it is void.
    changed_at timestamptz,
    tries      integer NOT NULL DEFAULT 0,
    expires_at timestamptz NOT NULL,
    CHECK ((kind = 'passkey_login') = (user_id IS NULL)),
    CHECK ((kind = 'second_factor') = (changed_at IS NOT NULL))
);
CREATE INDEX challenges_expires_at ON challenges (expires_at);
CREATE INDEX challenges_user_id ON challenges (user_id);

GRANT SELECT, INSERT, UPDATE, DELETE
    ON totp, recovery_codes, passkeys, challenges TO keywire_app;
