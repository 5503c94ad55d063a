-- Who may change an account's factors, and how a sign-in under way learns that it needs one.

-- When the session proved a factor: by an app's code, a recovery code or a passkey at its sign-in, or by
-- the code that confirmed the app. Null: the password alone.
ALTER TABLE sessions ADD COLUMN proven_at timestamptz;

-- Whether the password alone does not sign in, because an app is confirmed. It is here, and not only in
-- `totp`: a sign-in that waited for a confirmation reads the row it waited for anew, and no other table.
ALTER TABLE users ADD COLUMN second_factor boolean NOT NULL DEFAULT false;
UPDATE users SET second_factor = true
WHERE id IN (SELECT user_id FROM totp WHERE confirmed_at IS NOT NULL);

CREATE FUNCTION keep_second_factor() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE users u SET second_factor = NOT u.second_factor
    WHERE u.id = coalesce(NEW.user_id, OLD.user_id)
      AND u.second_factor <> EXISTS (SELECT FROM totp t
                                     WHERE t.user_id = u.id AND t.confirmed_at IS NOT NULL);
    RETURN NULL;
END $$;
-- Not when a code is used, which is every sign-in with one.
CREATE TRIGGER keep_second_factor AFTER INSERT OR DELETE OR UPDATE OF confirmed_at ON totp
    FOR EACH ROW EXECUTE FUNCTION keep_second_factor();
