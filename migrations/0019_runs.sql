-- A batch of a room's messages is no slower for an edit, a deletion or a change of members among them.

-- Appends a batch, and says of each item, by its place from 1, what became of it. One call is one
-- transaction, so no lock is held while a client is waited for. Messages that follow one another go
-- together, whatever rooms they are for; anything else goes alone. Each sees what those before it did.
CREATE OR REPLACE FUNCTION append_messages(
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
    many CONSTANT int := cardinality(rooms);
    -- Where a run of messages begins, and what ends it: something else, or the end of the batch.
    start int := 1;
    other int;
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE 'append_messages needs READ COMMITTED: each of its statements must see what was committed last';
    END IF;
    -- In one order: two batches of the same rooms would else wait for each other. What holds here can
    -- change no more by others until the end: numbers, keys, members and roles of these rooms, for
    -- whoever changes them holds the head; and that these users exist, also those whom it is about: who
    -- deletes an account knows what it owns once the account is locked.
    PERFORM FROM room_heads h WHERE h.room = ANY(rooms) ORDER BY h.room FOR NO KEY UPDATE;
    PERFORM FROM users u WHERE u.id = ANY(append_messages.users || subjects) ORDER BY u.id FOR KEY SHARE;
    -- A room may end with who leaves it, which changes its row.
    IF 'left' = ANY (kinds) THEN
        PERFORM FROM rooms r
            WHERE r.id = ANY(ARRAY(SELECT i.room FROM unnest(append_messages.rooms, kinds) AS i (room, kind)
                                   WHERE i.kind = 'left'))
            ORDER BY r.id FOR UPDATE;
    END IF;
    -- From here on with a new snapshot: the one of the statement that waited for a head does not have
    -- what it waited for, and a key stored meanwhile would be taken for a new one.
    FOREACH other IN ARRAY ARRAY(SELECT i.place FROM unnest(kinds) WITH ORDINALITY AS i (kind, place)
                                 WHERE i.kind <> 'message' ORDER BY i.place) || (many + 1)::bigint
    LOOP
        IF start < other THEN
            RETURN QUERY
            WITH judged AS (
                SELECT i.*, h.epoch, h.last_seq, s.seq AS stored_seq, s.at AS stored_at,
                       first_value(i.ordinal) OVER same_key AS first,
                       CASE WHEN h.epoch IS NULL THEN 'no_such_room'
                            WHEN s.seq IS NOT NULL AND s.kind = 'message' AND s.digest = i.digest
                                THEN 'duplicate'
                            WHEN s.seq IS NOT NULL THEN 'key_reused'
                            WHEN m.role IS NULL THEN 'not_member'
                            WHEN m.muted_until > now THEN 'muted'
                            WHEN row_number() OVER same_key = 1 THEN 'stored'
                            WHEN first_value(i.digest) OVER same_key = i.digest THEN 'duplicate'
                            ELSE 'key_reused' END AS outcome
                FROM unnest(rooms[start:other - 1], append_messages.users[start:other - 1],
                            keys[start:other - 1], bodies[start:other - 1], digests[start:other - 1])
                         WITH ORDINALITY AS i (room, user_id, key, body, digest, ordinal)
                     LEFT JOIN room_heads h ON h.room = i.room
                     LEFT JOIN room_members m ON m.room = i.room AND m.user_id = i.user_id
                     -- Whatever the planner takes the log for, the index of the keys is the only one that
                     -- helps here: a small log would else be read whole for each item, and be a large one
                     -- before the plan is made anew.
                     LEFT JOIN LATERAL (SELECT k.kind, k.digest, k.seq, k.at FROM messages k
                                        WHERE k.user_id = i.user_id AND k.key = i.key
                                          AND k.room + 0 = i.room
                                        LIMIT 1) s ON true
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
            SELECT start - 1 + n.ordinal, n.outcome,
                   coalesce(n.new_seq, n.stored_seq,
                            first_value(n.new_seq) OVER (PARTITION BY n.first ORDER BY n.ordinal)),
                   CASE WHEN n.outcome IN ('stored', 'duplicate') THEN coalesce(n.stored_at, now) END,
                   n.epoch, NULL::text
            FROM numbered n;
        END IF;
        EXIT WHEN other > many;
        ordinal := other;
        SELECT e.outcome, e.seq, e.at, e.epoch,
               CASE WHEN e.outcome = 'stored' AND kinds[other] IN ('joined', 'left', 'role')
                    THEN e.body END
            INTO outcome, seq, at, epoch, body
            FROM append_entry(rooms[other], append_messages.users[other], moderates[other], keys[other],
                              kinds[other], of_seqs[other], bodies[other], digests[other],
                              subjects[other], roles[other], now) AS e;
        RETURN NEXT;
        start := other + 1;
    END LOOP;
END $$;
