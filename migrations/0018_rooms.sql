-- Rooms, who is in them, and the log of each durable one.
--
-- Locks are taken in this order, by every statement here and by those that end an account: heads, by
-- room; users, by id; then rooms, by id, messages, members and invitations. Whoever ends an account holds
-- the heads of the rooms it owns, its row of `users`, and the rooms it made or owns, and comes to its
-- memberships through the references below.

CREATE TABLE rooms (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- What everybody calls the room by; it never changes. In byte order, so that a beginning finds it.
    name       text COLLATE "C" NOT NULL CONSTRAINT rooms_name_taken UNIQUE
                   CONSTRAINT rooms_name CHECK (name ~ '^[a-z0-9][a-z0-9._-]{0,63}$'),
    title      text NOT NULL CONSTRAINT rooms_title CHECK (char_length(title) <= 100),
    -- Whether what is said is kept. Without a log there are no positions, no replay and no history.
    durable    boolean NOT NULL,
    -- Whether anybody may find it and join.
    public     boolean NOT NULL,
    -- How often its members have changed, where no log counts that.
    changes    bigint NOT NULL DEFAULT 0,
    created_by uuid REFERENCES users ON DELETE SET NULL,
    created_at timestamptz NOT NULL
);
CREATE INDEX rooms_created_by ON rooms (created_by) WHERE created_by IS NOT NULL;
CREATE INDEX rooms_public_by_name ON rooms (name) WHERE public;
CREATE INDEX rooms_public_by_title ON rooms ((lower(title) COLLATE "C")) WHERE public;

-- Where the log of a durable room begins and ends: an empty one at 1 and 0. Written by every append, so
-- it is narrow, and half of each page is left free for the versions to come.
CREATE TABLE room_heads (
    room      bigint PRIMARY KEY REFERENCES rooms,
    -- A random number; another one when the log is no longer the one that clients have seen.
    epoch     bigint NOT NULL,
    first_seq bigint NOT NULL DEFAULT 1,
    last_seq  bigint NOT NULL DEFAULT 0,
    CHECK (first_seq >= 1 AND last_seq >= first_seq - 1)
) WITH (fillfactor = 50);

CREATE TABLE room_members (
    room        bigint NOT NULL REFERENCES rooms,
    user_id     uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    role        text NOT NULL CHECK (role IN ('owner', 'moderator', 'member')),
    muted_until timestamptz,
    joined_at   timestamptz NOT NULL,
    PRIMARY KEY (room, user_id)
);
CREATE INDEX room_members_user_id ON room_members (user_id);

CREATE TABLE room_invitations (
    room       bigint NOT NULL REFERENCES rooms,
    user_id    uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    invited_by uuid REFERENCES users ON DELETE SET NULL,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (room, user_id)
);
CREATE INDEX room_invitations_user_id ON room_invitations (user_id);
CREATE INDEX room_invitations_invited_by ON room_invitations (invited_by) WHERE invited_by IS NOT NULL;

-- The log. Its rooms are not referenced: each append holds the head of its room anyway, and the check
-- would be made for every row.
CREATE TABLE messages (
    room    bigint NOT NULL,
    -- From 1, without holes, in the order in which they were committed.
    seq     bigint NOT NULL,
    kind    text NOT NULL CHECK (kind IN ('message', 'edited', 'deleted', 'joined', 'left', 'role')),
    -- Whose it is; nobody's once the account is deleted.
    -- Not a reference, which would rewrite all that somebody said when the account is deleted.
    user_id uuid NOT NULL,
    -- The sender's name for it, by which a second try is known.
    key     uuid NOT NULL,
    -- What an `edited` or `deleted` is about.
    of_seq  bigint CHECK ((of_seq IS NOT NULL) = (kind IN ('edited', 'deleted'))),
    -- The JSON text that is delivered; null once it was deleted, and of a `deleted`. Of `joined`, `left` and
    -- `role` without the member's name, which is asked for when it is read: see `member_json`.
    body    text,
    -- SHA-256 of what was sent under this key; it stays when the body goes.
    digest  bytea NOT NULL CHECK (octet_length(digest) = 32),
    at      timestamptz NOT NULL,
    PRIMARY KEY (room, seq),
    -- The user first: an account's export looks by user. The room last, so that a key is found without it.
    CONSTRAINT messages_key_taken UNIQUE (user_id, key, room)
);
-- What was said about a message: its deletion empties the texts it had before.
CREATE INDEX messages_of ON messages (room, of_seq) WHERE of_seq IS NOT NULL;

-- Nobody who serves requests renumbers a log, or changes what was said otherwise than by emptying it.
GRANT SELECT, INSERT, UPDATE (title, public, changes) ON rooms TO keywire_app;
GRANT SELECT, INSERT, UPDATE (first_seq, last_seq) ON room_heads TO keywire_app;
GRANT SELECT, INSERT, DELETE, UPDATE (role, muted_until) ON room_members TO keywire_app;
GRANT SELECT, INSERT, DELETE ON room_invitations TO keywire_app;
GRANT SELECT, INSERT, DELETE, UPDATE (body) ON messages TO keywire_app;

-- Lets somebody in or out of a room, or changes a role: null when done, else why not. The caller holds
-- the head of the room, or the room itself where there is no head: the last owner is counted.
CREATE FUNCTION change_member(
    the_room bigint, actor uuid, moderates boolean, kind text, subject uuid, new_role text, now timestamptz
) RETURNS text LANGUAGE plpgsql VOLATILE AS $$
#variable_conflict use_column
DECLARE
    own record;
    theirs text := (SELECT role FROM room_members WHERE room = the_room AND user_id = subject);
    is_owner boolean;
    is_last boolean;
BEGIN
    SELECT role, muted_until INTO own FROM room_members WHERE room = the_room AND user_id = actor;
    is_owner := coalesce(own.role = 'owner', false);
    is_last := coalesce(theirs = 'owner', false) AND NOT EXISTS (
        SELECT FROM room_members WHERE room = the_room AND role = 'owner' AND user_id <> subject);
    IF kind = 'joined' THEN
        IF actor <> subject THEN RETURN 'forbidden'; END IF;
        IF theirs IS NOT NULL THEN RETURN 'unchanged'; END IF;
        DELETE FROM room_invitations WHERE room = the_room AND user_id = actor;
        IF NOT FOUND AND NOT EXISTS (SELECT FROM rooms WHERE id = the_room AND public) THEN
            RETURN 'forbidden';
        END IF;
        INSERT INTO room_members (room, user_id, role, joined_at) VALUES (the_room, actor, 'member', now);
        RETURN NULL;
    END IF;
    IF own.role IS NULL AND NOT (moderates AND kind = 'left' AND actor <> subject) THEN
        RETURN 'not_member';
    END IF;
    IF kind = 'role' THEN
        IF NOT is_owner THEN RETURN 'forbidden'; END IF;
        IF theirs IS NULL THEN RETURN 'no_such_member'; END IF;
        IF theirs = new_role THEN RETURN 'unchanged'; END IF;
        IF is_last THEN RETURN 'last_owner'; END IF;
        UPDATE room_members SET role = new_role WHERE room = the_room AND user_id = subject;
        RETURN NULL;
    END IF;
    IF actor = subject THEN
        -- Who could leave and come back would be muted no longer.
        IF own.muted_until > now THEN RETURN 'muted'; END IF;
        IF is_last AND EXISTS (SELECT FROM room_members WHERE room = the_room AND user_id <> subject) THEN
            RETURN 'last_owner';
        END IF;
    ELSIF NOT (is_owner OR coalesce(theirs, 'member') = 'member'
                           AND (moderates OR own.role = 'moderator')) THEN
        RETURN 'forbidden';
    ELSIF theirs IS NULL THEN
        RETURN 'no_such_member';
    END IF;
    DELETE FROM room_members WHERE room = the_room AND user_id = subject;
    RETURN NULL;
END $$;

-- What is kept of an entry about a member, `{"user":"<uuid>","role":"member"}`, without a role once they
-- have left. A name would stay in it when the account is deleted.
CREATE FUNCTION member_ref(subject uuid, role text) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT format('{"user":"%s"%s}', subject, ',"role":' || to_json(role))
$$;

-- What is told of it: `{"user":"<uuid>","username":"bob","role":"member"}`, with the name of now, which is
-- null once the account is deleted.
CREATE FUNCTION member_json(kept text) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT format('{"user":"%s","username":%s%s}', k.subject, coalesce(to_json(u.username)::text, 'null'),
                  ',"role":' || to_json(k.role))
    FROM (SELECT kept::json->>'user' AS subject, kept::json->>'role' AS role) k
         LEFT JOIN users u ON u.id = k.subject::uuid
$$;

-- One entry of any kind, by whoever holds the head: `append_messages` below.
CREATE FUNCTION append_entry(
    the_room bigint, actor uuid, moderates boolean, the_key uuid, the_kind text, target bigint,
    content text, the_digest bytea, subject uuid, new_role text, now timestamptz,
    OUT outcome text, OUT seq bigint, OUT at timestamptz, OUT epoch bigint, OUT body text
) LANGUAGE plpgsql VOLATILE AS $$
#variable_conflict use_column
DECLARE
    stored record;
    member record;
    original record;
    kept text := content;
BEGIN
    SELECT h.epoch INTO append_entry.epoch FROM room_heads h WHERE room = the_room;
    IF NOT FOUND THEN outcome := 'no_such_room'; RETURN; END IF;
    SELECT kind = the_kind AND digest = the_digest AS is_same, m.seq, m.at INTO stored
        -- As in append_messages.
        FROM messages m WHERE user_id = actor AND key = the_key AND room + 0 = the_room;
    IF FOUND THEN
        outcome := CASE WHEN stored.is_same THEN 'duplicate' ELSE 'key_reused' END;
        seq := stored.seq;
        at := stored.at;
        RETURN;
    END IF;
    IF the_kind IN ('joined', 'left', 'role') THEN
        outcome := change_member(the_room, actor, moderates, the_kind, subject, new_role, now);
        kept := member_ref(subject, CASE the_kind WHEN 'joined' THEN 'member' ELSE new_role END);
        body := member_json(kept);
    ELSE
        SELECT role, muted_until INTO member FROM room_members
            WHERE room = the_room AND user_id = actor;
        SELECT user_id, m.body IS NULL AS is_deleted INTO original
            FROM messages m WHERE room = the_room AND m.seq = target AND kind = 'message';
        IF NOT FOUND AND the_kind = 'deleted' THEN
            -- Retention may have removed it, and not yet what it was changed to.
            SELECT user_id, m.body IS NULL AS is_deleted INTO original FROM messages m
                WHERE room = the_room AND of_seq = target AND kind = 'edited' ORDER BY m.seq DESC LIMIT 1;
        END IF;
        outcome := CASE
            WHEN member.role IS NULL AND NOT (moderates AND the_kind = 'deleted') THEN 'not_member'
            WHEN the_kind <> 'deleted' AND member.muted_until > now THEN 'muted'
            WHEN the_kind = 'message' THEN NULL
            WHEN original.is_deleted IS NULL THEN 'no_such_message'
            WHEN original.user_id IS DISTINCT FROM actor
                 AND (the_kind = 'edited' OR NOT (moderates OR member.role IN ('owner', 'moderator')))
                THEN 'forbidden'
            WHEN NOT original.is_deleted THEN NULL
            WHEN the_kind = 'edited' THEN 'no_such_message'
            ELSE 'unchanged' END;
    END IF;
    IF outcome IS NOT NULL THEN RETURN; END IF;
    outcome := 'stored';
    at := now;
    UPDATE room_heads h SET last_seq = last_seq + 1 WHERE room = the_room
        RETURNING last_seq INTO append_entry.seq;
    INSERT INTO messages (room, seq, kind, user_id, key, of_seq, body, digest, at)
        VALUES (the_room, append_entry.seq, the_kind, actor, the_key, target, kept, the_digest, now);
    IF the_kind = 'deleted' THEN
        UPDATE messages m SET body = NULL WHERE room = the_room AND m.seq = target;
        UPDATE messages m SET body = NULL WHERE room = the_room AND of_seq = target AND kind = 'edited';
    END IF;
END $$;

-- Appends a batch, and says of each item, by its place from 1, what became of it. One call is one
-- transaction, so no lock is held while a client is waited for.
CREATE FUNCTION append_messages(
    rooms bigint[], users uuid[], moderates boolean[], keys uuid[], kinds text[], of_seqs bigint[],
    bodies text[], digests bytea[], subjects uuid[], roles text[], now timestamptz
) RETURNS TABLE (ordinal bigint, outcome text, seq bigint, at timestamptz, epoch bigint, body text)
LANGUAGE plpgsql VOLATILE
-- Few rows of a large log are looked up by key: no plan made while the log was small may outlive that. One
-- plan for batches of any size, or each call would be planned anew, which takes longer than a lone entry.
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
SET plan_cache_mode = force_generic_plan AS $$
#variable_conflict use_column
DECLARE
    -- Rooms of which more is asked than to take messages.
    mixed bigint[] := ARRAY(SELECT DISTINCT i.room FROM unnest(rooms, kinds) AS i (room, kind)
                            WHERE i.kind <> 'message');
    item record;
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE 'append_messages needs READ COMMITTED: each of its statements must see what was committed last';
    END IF;
    -- In one order: two batches of the same rooms would else wait for each other. What holds here can
    -- change no more by others until the end: numbers, keys, members and roles of these rooms, for
    -- whoever changes them holds the head; and that these users exist.
    PERFORM FROM room_heads h WHERE h.room = ANY(rooms) ORDER BY h.room FOR NO KEY UPDATE;
    PERFORM FROM users u WHERE u.id = ANY(append_messages.users) ORDER BY u.id FOR KEY SHARE;
    -- From here on with a new snapshot: the one of the statement that waited for a head does not have
    -- what it waited for, and a key stored meanwhile would be taken for a new one.
    RETURN QUERY
    WITH judged AS (
        SELECT i.*, h.epoch, h.last_seq, s.seq AS stored_seq, s.at AS stored_at,
               first_value(i.ordinal) OVER same_key AS first,
               CASE WHEN h.epoch IS NULL THEN 'no_such_room'
                    WHEN s.seq IS NOT NULL AND s.kind = 'message' AND s.digest = i.digest THEN 'duplicate'
                    WHEN s.seq IS NOT NULL THEN 'key_reused'
                    WHEN m.role IS NULL THEN 'not_member'
                    WHEN m.muted_until > now THEN 'muted'
                    WHEN row_number() OVER same_key = 1 THEN 'stored'
                    WHEN first_value(i.digest) OVER same_key = i.digest THEN 'duplicate'
                    ELSE 'key_reused' END AS outcome
        FROM unnest(rooms, append_messages.users, keys, bodies, digests) WITH ORDINALITY
                 AS i (room, user_id, key, body, digest, ordinal)
             LEFT JOIN room_heads h ON h.room = i.room
             LEFT JOIN room_members m ON m.room = i.room AND m.user_id = i.user_id
             -- Whatever the planner takes the log for, the index of the keys is the only one that helps
             -- here: a small log would else be read whole for each item, and be a large one before the
             -- plan is made anew.
             LEFT JOIN LATERAL (SELECT k.kind, k.digest, k.seq, k.at FROM messages k
                                WHERE k.user_id = i.user_id AND k.key = i.key AND k.room + 0 = i.room
                                LIMIT 1) s ON true
        WHERE i.room <> ALL (mixed)
        WINDOW same_key AS (PARTITION BY i.room, i.user_id, i.key ORDER BY i.ordinal)
    ), numbered AS (
        SELECT j.*, CASE WHEN j.outcome = 'stored'
                         THEN j.last_seq + row_number() OVER (PARTITION BY j.room, j.outcome
                                                              ORDER BY j.ordinal) END AS new_seq
        FROM judged j
    ), inserted AS (
        INSERT INTO messages (room, seq, kind, user_id, key, body, digest, at)
        SELECT n.room, n.new_seq, 'message', n.user_id, n.key, n.body, n.digest, now
        FROM numbered n WHERE n.outcome = 'stored'
    ), raised AS (
        UPDATE room_heads h SET last_seq = r.new_last
        FROM (SELECT n.room, max(n.new_seq) AS new_last FROM numbered n
              WHERE n.outcome = 'stored' GROUP BY n.room) r
        WHERE h.room = r.room
    )
    SELECT n.ordinal, n.outcome,
           coalesce(n.new_seq, n.stored_seq,
                    first_value(n.new_seq) OVER (PARTITION BY n.first ORDER BY n.ordinal)),
           CASE WHEN n.outcome IN ('stored', 'duplicate') THEN coalesce(n.stored_at, now) END,
           n.epoch, NULL::text
    FROM numbered n;
    -- The others one by one, each of which sees what those before it did.
    FOR item IN
        SELECT * FROM unnest(rooms, append_messages.users, moderates, keys, kinds, of_seqs, bodies, digests,
                             subjects, roles) WITH ORDINALITY
            AS i (room, user_id, moderates, key, kind, of_seq, body, digest, subject, role, ordinal)
        WHERE i.room = ANY (mixed) ORDER BY i.ordinal
    LOOP
        ordinal := item.ordinal;
        SELECT e.outcome, e.seq, e.at, e.epoch,
               CASE WHEN e.outcome = 'stored' AND item.kind IN ('joined', 'left', 'role') THEN e.body END
            INTO outcome, seq, at, epoch, body
            FROM append_entry(item.room, item.user_id, item.moderates, item.key, item.kind, item.of_seq,
                              item.body, item.digest, item.subject, item.role, now) AS e;
        RETURN NEXT;
    END LOOP;
END $$;

-- The same change of members where no log is kept. `version` counts the changes of a room in the order in
-- which they are committed: who is told of them may be so in another one.
CREATE FUNCTION change_member_unlogged(
    the_room bigint, actor uuid, moderates boolean, kind text, subject uuid, new_role text, now timestamptz,
    OUT refused text, OUT version bigint
) LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    -- Users first: whoever deletes an account has its row and comes to the rooms it made.
    PERFORM FROM users WHERE id IN (actor, subject) ORDER BY id FOR KEY SHARE;
    -- There is no head to hold.
    PERFORM FROM rooms WHERE id = the_room AND NOT durable FOR NO KEY UPDATE;
    IF NOT FOUND THEN refused := 'no_such_room'; RETURN; END IF;
    refused := change_member(the_room, actor, moderates, kind, subject, new_role, now);
    IF refused IS NULL THEN
        UPDATE rooms SET changes = changes + 1 WHERE id = the_room RETURNING changes INTO version;
    END IF;
END $$;

-- Gives each of these rooms that has lost its last owner with an account another one, if anybody is there:
-- of those whose account is active the moderator who has been there longest, else the member. The caller
-- holds the heads of these rooms, or the rooms where there is no head. In a log it is an entry of the
-- account that is gone.
CREATE FUNCTION hand_over_rooms(rooms bigint[], gone uuid, now timestamptz)
RETURNS void LANGUAGE plpgsql VOLATILE AS $$
#variable_conflict use_column
DECLARE
    heir record;
    place bigint;
BEGIN
    FOR heir IN
        SELECT DISTINCT ON (m.room) m.room, m.user_id
        FROM room_members m JOIN users u ON u.id = m.user_id
        WHERE m.room = ANY (hand_over_rooms.rooms)
          AND NOT EXISTS (SELECT FROM room_members o WHERE o.room = m.room AND o.role = 'owner')
        ORDER BY m.room, u.status = 'active' DESC, m.role = 'moderator' DESC, m.joined_at, m.user_id
    LOOP
        -- Nobody could let a muted owner speak again.
        UPDATE room_members SET role = 'owner', muted_until = NULL
            WHERE room = heir.room AND user_id = heir.user_id;
        UPDATE room_heads SET last_seq = last_seq + 1 WHERE room = heir.room RETURNING last_seq INTO place;
        IF FOUND THEN
            INSERT INTO messages (room, seq, kind, user_id, key, body, digest, at)
                VALUES (heir.room, place, 'role', gone, gen_random_uuid(),
                        member_ref(heir.user_id, 'owner'), sha256(''), now);
        ELSE
            UPDATE rooms SET changes = changes + 1 WHERE id = heir.room;
        END IF;
    END LOOP;
END $$;
