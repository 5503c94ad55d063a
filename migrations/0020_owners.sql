-- Every room has an owner, who is not mute: it ends with its last member, and is somebody else's before an
-- owner goes. An invitation counts for as long as whoever made it might make it.

ALTER TABLE rooms
    -- When its last member left: it has its name no longer, and is removed by and by.
    ADD COLUMN ended_at timestamptz,
    DROP CONSTRAINT rooms_name,
    ADD CONSTRAINT rooms_name CHECK (CASE WHEN ended_at IS NULL THEN name ~ '^[a-z0-9][a-z0-9._-]{0,63}$'
                                          ELSE name = '~' || id END);
CREATE INDEX rooms_ended ON rooms (id) WHERE ended_at IS NOT NULL;

-- Ends those of these rooms in which nobody is any more. The caller holds them as `change_member` asks,
-- and their rows FOR UPDATE. The serving role may not rename a room that anybody is in.
CREATE FUNCTION end_empty_rooms(rooms bigint[], now timestamptz) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    WITH ended AS (
        UPDATE public.rooms r SET name = '~' || r.id, title = '', public = false, created_by = NULL,
                                  ended_at = now
        WHERE r.id = ANY (end_empty_rooms.rooms) AND r.ended_at IS NULL
          AND NOT EXISTS (SELECT FROM public.room_members m WHERE m.room = r.id)
        RETURNING r.id
    )
    DELETE FROM public.room_invitations i USING ended WHERE i.room = ended.id
$$;
REVOKE EXECUTE ON FUNCTION end_empty_rooms(bigint[], timestamptz) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION end_empty_rooms(bigint[], timestamptz) TO keywire_app;

-- A step of removing what has ended: the oldest entries of its log, then the room. At most `most` entries
-- and rooms; returns how many.
CREATE FUNCTION remove_ended_rooms(most bigint) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off AS $$
DECLARE
    ended bigint;
    head record;
    removed bigint := 0;
    step bigint;
BEGIN
    FOR ended IN SELECT id FROM public.rooms WHERE ended_at IS NOT NULL ORDER BY id LIMIT most LOOP
        step := most - removed;
        EXIT WHEN step <= 0;
        SELECT first_seq, last_seq INTO head FROM public.room_heads WHERE room = ended FOR UPDATE;
        IF FOUND THEN
            -- One by one: a range of unknown length may be planned as a scan of the whole table.
            DELETE FROM public.messages WHERE room = ended AND seq = ANY (ARRAY(
                SELECT generate_series(head.first_seq, least(head.last_seq, head.first_seq + step - 1))));
            IF head.first_seq + step <= head.last_seq THEN
                UPDATE public.room_heads SET first_seq = first_seq + step WHERE room = ended;
                RETURN removed + step;
            END IF;
            removed := removed + head.last_seq - head.first_seq + 1;
            DELETE FROM public.room_heads WHERE room = ended;
        END IF;
        -- Somebody may have been invited while it ended.
        DELETE FROM public.room_invitations WHERE room = ended;
        DELETE FROM public.rooms WHERE id = ended;
        -- Another node may have removed it while this one waited for its log.
        removed := removed + FOUND::int;
    END LOOP;
    RETURN removed;
END $$;
REVOKE EXECUTE ON FUNCTION remove_ended_rooms(bigint) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION remove_ended_rooms(bigint) TO keywire_app;

-- Those by which somebody gets in: any member invites into a public room, who owns or moderates it into
-- another. What is not here any more may be here again; to invite anew takes its place.
CREATE VIEW open_invitations AS
    SELECT i.room, i.user_id, i.invited_by, i.created_at
    FROM room_invitations i
         JOIN rooms r ON r.id = i.room
         JOIN room_members m ON m.room = i.room AND m.user_id = i.invited_by
    WHERE r.public OR m.role IN ('owner', 'moderator');
GRANT SELECT ON open_invitations TO keywire_app;
GRANT UPDATE (invited_by, created_at) ON room_invitations TO keywire_app;

-- Lets somebody in or out of a room, or changes a role: null when done, else why not. The caller holds
-- the head of the room, or the room itself where there is no head: the last owner is counted. Who lets
-- somebody out holds the room itself in any case: it ends with the last one.
CREATE OR REPLACE FUNCTION change_member(
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
        IF EXISTS (SELECT FROM rooms WHERE id = the_room AND ended_at IS NOT NULL) THEN
            RETURN 'no_such_room';
        END IF;
        IF NOT EXISTS (SELECT FROM rooms WHERE id = the_room AND public)
           AND NOT EXISTS (SELECT FROM open_invitations WHERE room = the_room AND user_id = actor) THEN
            RETURN 'forbidden';
        END IF;
        DELETE FROM room_invitations WHERE room = the_room AND user_id = actor;
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
        -- Nobody could let a muted owner speak again.
        UPDATE room_members SET role = new_role,
                                muted_until = CASE WHEN new_role <> 'owner' THEN muted_until END
            WHERE room = the_room AND user_id = subject;
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
    IF NOT EXISTS (SELECT FROM room_members WHERE room = the_room) THEN
        PERFORM end_empty_rooms(ARRAY[the_room], now);
    END IF;
    RETURN NULL;
END $$;

-- The same change of members where no log is kept. `version` counts the changes of a room in the order in
-- which they are committed: who is told of them may be so in another one.
CREATE OR REPLACE FUNCTION change_member_unlogged(
    the_room bigint, actor uuid, moderates boolean, kind text, subject uuid, new_role text, now timestamptz,
    OUT refused text, OUT version bigint
) LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    -- Users first: whoever deletes an account has its row and comes to the rooms it made.
    PERFORM FROM users WHERE id IN (actor, subject) ORDER BY id FOR KEY SHARE;
    -- There is no head to hold.
    PERFORM FROM rooms WHERE id = the_room AND NOT durable AND ended_at IS NULL FOR UPDATE;
    IF NOT FOUND THEN refused := 'no_such_room'; RETURN; END IF;
    refused := change_member(the_room, actor, moderates, kind, subject, new_role, now);
    IF refused IS NULL THEN
        UPDATE rooms SET changes = changes + 1 WHERE id = the_room RETURNING changes INTO version;
    END IF;
END $$;

-- Gives each of these rooms that has lost its last owner with an account another one, if anybody is there:
-- of those whose account is active the moderator who has been there longest, else the member. Else the room
-- ends. The caller holds the heads of these rooms, and the rooms. In a log it is an entry of the account
-- that is gone.
CREATE OR REPLACE FUNCTION hand_over_rooms(rooms bigint[], gone uuid, now timestamptz)
RETURNS void LANGUAGE plpgsql VOLATILE AS $$
#variable_conflict use_column
DECLARE
    the_room bigint;
    heir uuid;
    place bigint;
BEGIN
    FOR the_room IN
        SELECT DISTINCT m.room FROM room_members m
        WHERE m.room = ANY (hand_over_rooms.rooms)
          AND NOT EXISTS (SELECT FROM room_members o WHERE o.room = m.room AND o.role = 'owner')
        ORDER BY m.room
    LOOP
        LOOP
            -- Who deletes their account holds its row, and whoever begins to do so after this waits, and finds
            -- that they own the room.
            SELECT m.user_id INTO heir
            FROM room_members m JOIN users u ON u.id = m.user_id
            WHERE m.room = the_room
            ORDER BY u.status = 'active' DESC, m.role = 'moderator' DESC, m.joined_at, m.user_id
            LIMIT 1 FOR KEY SHARE OF u SKIP LOCKED;
            EXIT WHEN FOUND OR NOT EXISTS (SELECT FROM room_members WHERE room = the_room);
            -- All who are left go, too: once the first of them has gone, or stays, it is looked again.
            PERFORM FROM users WHERE id = (SELECT min(user_id::text)::uuid FROM room_members
                                           WHERE room = the_room) FOR KEY SHARE;
        END LOOP;
        CONTINUE WHEN heir IS NULL;
        UPDATE room_members SET role = 'owner', muted_until = NULL WHERE room = the_room AND user_id = heir;
        UPDATE room_heads SET last_seq = last_seq + 1 WHERE room = the_room RETURNING last_seq INTO place;
        IF FOUND THEN
            INSERT INTO messages (room, seq, kind, user_id, key, body, digest, at)
                VALUES (the_room, place, 'role', gone, gen_random_uuid(), member_ref(heir, 'owner'),
                        sha256(''), now);
        ELSE
            UPDATE rooms SET changes = changes + 1 WHERE id = the_room;
        END IF;
    END LOOP;
    PERFORM end_empty_rooms(hand_over_rooms.rooms, now);
END $$;

UPDATE room_members SET muted_until = NULL WHERE role = 'owner' AND muted_until IS NOT NULL;

-- Those that have lost their owners before.
SELECT hand_over_rooms(ARRAY(SELECT id FROM rooms ORDER BY id), '00000000-0000-0000-0000-000000000000', now());
