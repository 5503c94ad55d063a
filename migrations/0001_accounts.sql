-- Accounts: users, passwords, roles, sessions, the keys that verify tokens, throttles, the audit log.
-- Role keywire_app serves requests; shared/src/db/roles.rs makes it before the migrations run.

-- Before Postgres 15 everybody may create tables in schema public.
REVOKE CREATE ON SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public TO keywire_app;

CREATE TABLE users (
    id           uuid PRIMARY KEY,
    username     text NOT NULL,
    -- The username in lower case: names are unique without regard to case.
    username_key text NOT NULL CONSTRAINT users_username_taken UNIQUE,
    -- Verified addresses only; the key is the address in lower case.
    email        text,
    email_key    text CONSTRAINT users_email_taken UNIQUE,
    status       text NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'disabled')),
    -- Raised by whatever open sockets must notice: roles, status, password.
    version      bigint NOT NULL DEFAULT 1,
    created_at   timestamptz NOT NULL,
    CHECK ((email IS NULL) = (email_key IS NULL))
);

CREATE TABLE passwords (
    user_id    uuid PRIMARY KEY REFERENCES users ON DELETE CASCADE,
    -- peppered: bcrypt(base64(HMAC-SHA-384(pepper, password))); bcrypt: a plain hash from elsewhere.
    scheme     text NOT NULL CHECK (scheme IN ('peppered', 'bcrypt')),
    pepper_id  text,
    hash       text NOT NULL,
    changed_at timestamptz NOT NULL,
    CHECK ((scheme = 'peppered') = (pepper_id IS NOT NULL))
);
-- The start-up check asks which peppers are in use, by hops along this index.
CREATE INDEX passwords_pepper_id ON passwords (pepper_id);

CREATE TABLE user_roles (
    user_id    uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    role       text NOT NULL CHECK (role IN ('member', 'moderator', 'admin')),
    granted_by uuid REFERENCES users ON DELETE SET NULL,
    granted_at timestamptz NOT NULL,
    PRIMARY KEY (user_id, role)
);

CREATE TABLE sessions (
    id             uuid PRIMARY KEY,
    user_id        uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    -- Half of the refresh token's MAC: a key alone, without this row, signs nothing.
    salt           bytea NOT NULL,
    -- The refresh token that holds, and the newest one its client has shown it has.
    counter        bigint NOT NULL DEFAULT 0,
    seen_counter   bigint NOT NULL DEFAULT 0,
    rotated_at     timestamptz NOT NULL,
    created_at     timestamptz NOT NULL,
    last_seen_at   timestamptz NOT NULL,
    idle_until     timestamptz NOT NULL,
    absolute_until timestamptz NOT NULL,
    address        inet NOT NULL,
    user_agent     text,
    revoked_at     timestamptz,
    revoked_reason text
);
CREATE INDEX sessions_user_id ON sessions (user_id);

CREATE TABLE signing_keys (
    -- RFC 7638 thumbprint of the public key.
    kid        text PRIMARY KEY,
    public_jwk jsonb NOT NULL,
    created_at timestamptz NOT NULL,
    -- From when tokens of this key no longer verify; null for the current and the next key.
    retire_at  timestamptz
);

-- GCRA: the theoretical arrival time of each bucket. Not logged: a crash refills the buckets.
CREATE UNLOGGED TABLE buckets (
    key bytea PRIMARY KEY,
    tat timestamptz NOT NULL
);

-- Failed sign-ins by subject (the MAC of an identifier as it was typed, in lower case, whether or not
-- a user has it) and by network; the empty network counts all those that the identifier does not know.
CREATE TABLE failures (
    subject      bytea NOT NULL,
    network      bytea NOT NULL,
    count        integer NOT NULL,
    last_at      timestamptz NOT NULL,
    locked_until timestamptz,
    -- Until when this network counts as one that signed in with this identifier.
    known_until  timestamptz,
    PRIMARY KEY (subject, network)
) WITH (fillfactor = 70);

CREATE TABLE audit (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at         timestamptz NOT NULL,
    -- OWASP Logging Vocabulary, like authn_login_fail.
    event      text NOT NULL,
    actor      uuid,
    subject    uuid,
    session    uuid,
    address    inet,
    user_agent text,
    request_id text,
    detail     jsonb
);
CREATE INDEX audit_subject ON audit (subject, id);

GRANT SELECT, INSERT, UPDATE, DELETE
    ON users, passwords, user_roles, sessions, buckets, failures TO keywire_app;
-- Only the owner and the rotation write keys; nobody who serves requests changes the past.
GRANT SELECT ON signing_keys TO keywire_app;
GRANT SELECT, INSERT ON audit TO keywire_app;
