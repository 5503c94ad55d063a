-- An invitation counts for as long as whoever made it might make it.

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
    IF NOT EXISTS (SELECT FROM room_members WHERE room = the_room) THEN
        PERFORM end_empty_rooms(ARRAY[the_room], now);
    END IF;
    RETURN NULL;
END $$;

-- A step of removing what has ended: the oldest entries of its log, then the room. At most `most` entries
-- and rooms; returns how many.
CREATE OR REPLACE FUNCTION remove_ended_rooms(most bigint) RETURNS bigint
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
