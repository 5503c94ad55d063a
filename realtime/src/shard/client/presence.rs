//! Who is in a room, and who types there, as commands ask and tell.

use std::sync::Arc;

use tokio::sync::oneshot;
use uuid::Uuid;

use super::Client;
use crate::auth::Identity;
use crate::hub::Room;
use crate::presence::User;
use crate::shard::presence::{Asker, Word};

impl Client {
    /// Replies to a command with who is in a room, behind this user; whether it did.
    pub(crate) async fn say_who_is_there(
        &self,
        id: u64,
        room: Arc<Room>,
        after: Option<Uuid>,
    ) -> bool {
        let (said, answer) = oneshot::channel();
        let (shard, connection) = (self.shard.index, self.connection.key());
        let asker = Asker { shard, connection, id, said };
        self.shard.word(room.home, Word::Asks(room, after, Box::new(asker)));
        answer.await.is_ok()
    }

    /// Tells the others in a room that its user types.
    pub(crate) fn types(&self, room: &Arc<Room>, identity: &Identity) {
        self.shard.part(room).types(&self.shard, User::of(identity));
    }
}
