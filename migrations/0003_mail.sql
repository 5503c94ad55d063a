-- Mail: links that are used once, mails still to be sent, and the steps that remove what is old.

CREATE TABLE one_time_tokens (
    -- 128 random bits: what a link carries beside a MAC over this row, whose key is not in here.
    id         uuid PRIMARY KEY,
    -- Purposes are in shared/src/secret_token.rs; `moved` is none of them: it keeps the address that an
    -- account had until the mail to it is sent.
    kind       text NOT NULL,
    user_id    uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    -- The address: where the mail goes, and what `verify` makes the account's own.
    target     text NOT NULL,
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    used_at    timestamptz
);
-- One that can be used for each purpose of a user: a newer request takes the older one's row.
CREATE UNIQUE INDEX one_time_tokens_live ON one_time_tokens (user_id, kind) WHERE used_at IS NULL;
CREATE INDEX one_time_tokens_expires_at ON one_time_tokens (expires_at);

-- Mails to be sent. Neither text nor token is in here: the courier makes both when it sends.
CREATE TABLE outbox (
    id         uuid PRIMARY KEY,
    -- Kinds are in shared/src/mail/letter.rs. No CHECK: a courier of an older release leaves what it
    -- does not know to a newer one.
    kind       text NOT NULL,
    user_id    uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    -- No reference: a mail whose token was replaced meanwhile is not sent.
    token_id   uuid,
    created_at timestamptz NOT NULL,
    -- Tries so far, each counted before it is made.
    attempts   integer NOT NULL DEFAULT 0,
    -- When it is tried next; while one courier tries it, when another may.
    next_at    timestamptz NOT NULL,
    ended_at   timestamptz,
    -- sent: a server took it; obsolete: there was nothing to send any more; given_up: no try worked.
    outcome    text CHECK (outcome IN ('sent', 'obsolete', 'given_up')),
    CHECK ((ended_at IS NULL) = (outcome IS NULL))
);
CREATE INDEX outbox_due ON outbox (next_at) WHERE ended_at IS NULL;
CREATE INDEX outbox_ended ON outbox (ended_at) WHERE ended_at IS NOT NULL;
CREATE INDEX outbox_user_id ON outbox (user_id);

GRANT SELECT, INSERT, UPDATE, DELETE ON one_time_tokens, outbox TO keywire_app;

-- What the courier removes is found by columns that do not change: an index on one that a refresh or a
-- failed sign-in writes would make each of them write the index, too. For `buckets` and `failures` there
-- is no such column, so these are read through.
CREATE INDEX sessions_absolute_until ON sessions (absolute_until);
CREATE INDEX sessions_revoked_at ON sessions (revoked_at) WHERE revoked_at IS NOT NULL;
CREATE INDEX audit_at ON audit USING brin (at);
CREATE INDEX audit_personal ON audit (at) WHERE address IS NOT NULL OR user_agent IS NOT NULL;

-- A step of what the serving role may not do itself: forgets address and agent of rows older than 30
-- days and removes rows older than `keep`, at most `most` of each, and returns how many it changed.
-- By the database's own clock, and never what is younger than 90 days: whoever has taken the serving
-- role cannot hide what was done in its name.
CREATE FUNCTION audit_prune(most integer, keep interval) RETURNS bigint
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    WITH forgotten AS (
        UPDATE public.audit SET address = NULL, user_agent = NULL
        WHERE id IN (SELECT id FROM public.audit
                     WHERE at < now() - interval '30 days'
                       AND at >= now() - greatest(keep, interval '90 days')
                       AND (address IS NOT NULL OR user_agent IS NOT NULL)
                     LIMIT most)
        RETURNING id
    ), removed AS (
        DELETE FROM public.audit
        WHERE id IN (SELECT id FROM public.audit
                     WHERE at < now() - greatest(keep, interval '90 days') LIMIT most)
        RETURNING id
    )
    SELECT (SELECT count(*) FROM forgotten) + (SELECT count(*) FROM removed)
$$;
REVOKE EXECUTE ON FUNCTION audit_prune(integer, interval) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION audit_prune(integer, interval) TO keywire_app;
