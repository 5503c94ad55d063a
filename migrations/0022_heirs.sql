-- A room keeps an owner also when whoever would own it next deletes their account at the same time, and no
-- owner is mute.

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

UPDATE room_members SET muted_until = NULL WHERE role = 'owner' AND muted_until IS NOT NULL;

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
