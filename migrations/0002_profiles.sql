-- Profiles, names that stay reserved, and what lists of accounts and of the audit log are read by.

ALTER TABLE users
    -- What people see; any Unicode. Null: the username is shown.
    ADD COLUMN display_name text,
    ADD COLUMN bio text;

-- Usernames of deleted accounts, until they are free.
CREATE TABLE reserved_names (
    username_key text PRIMARY KEY,
    free_at      timestamptz NOT NULL
);

-- After the row is there, not before: whoever takes a name that is being deleted waits for the
-- deletion at the unique index, and only then can the reservation be seen.
CREATE FUNCTION refuse_reserved_name() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM reserved_names
               WHERE username_key = NEW.username_key AND free_at > greatest(NEW.created_at, now()))
    THEN
        RAISE unique_violation USING CONSTRAINT = 'users_username_taken',
            MESSAGE = 'the username is reserved', SCHEMA = 'public', TABLE = 'users';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER refuse_reserved_name AFTER INSERT OR UPDATE OF username_key ON users
    FOR EACH ROW EXECUTE FUNCTION refuse_reserved_name();

-- A refresh and a first call after it each write the session's row; with room on its page the new
-- version needs no entry in an index.
ALTER TABLE sessions SET (fillfactor = 70);

-- Accounts are listed by name, in byte order, and found by how a name or an address begins.
CREATE INDEX users_by_name ON users (username_key COLLATE "C");
CREATE INDEX users_by_email ON users (email_key COLLATE "C");
CREATE INDEX user_roles_by_role ON user_roles (role);
CREATE INDEX audit_actor ON audit (actor, id);
CREATE INDEX audit_event ON audit (event, id);

GRANT SELECT, INSERT, UPDATE, DELETE ON reserved_names TO keywire_app;
