//! The task that hands a connection's answers to its socket.

use std::rc::Rc;

use pyralog_runtime::net::{Shutdown, WriteHalf};
use pyralog_runtime::time;

use crate::connection::{Connection, End, unless};
use crate::outbox::{Piece, SEND_BYTES, SEND_PIECES};
use crate::shard::Shard;

/// Sends until everything owed was sent and the connection finishes, or it is cut. Dropping it midway leaves a stream
/// that only closing makes sense of.
pub(crate) async fn run(shard: Rc<Shard>, connection: Rc<Connection>, mut socket: WriteHalf) {
    let mut pieces = Vec::with_capacity(SEND_PIECES);
    while connection.end() != End::Cut {
        let outgoing = connection.outgoing();
        connection.take_pieces(&mut pieces);
        if pieces.is_empty() {
            if connection.is_over() {
                break;
            }
            outgoing.await;
            continue;
        }
        let sent = send(&connection, &mut socket, &pieces).await;
        if connection.recycle(&mut pieces) {
            shard.relieve();
        }
        if sent.is_none() {
            connection.cut();
        }
    }
    connection.set_sending(None);
    // Err: the peer has closed already. The reader goes on for a moment, see `reader::linger`.
    socket.shutdown(Shutdown::Write).ok();
    connection.cut();
    shard.relieve();
}

/// Hands the pieces over in portions of [`SEND_BYTES`]; `None` if the connection broke or was cut.
async fn send(connection: &Connection, socket: &mut WriteHalf, pieces: &[Piece]) -> Option<()> {
    let mut parts: [&[u8]; SEND_PIECES] = [&[]; SEND_PIECES];
    let mut used = 0;
    let mut bytes = 0;
    for piece in pieces {
        if piece.bytes().len() <= SEND_BYTES {
            parts[used] = piece.bytes();
            used += 1;
            bytes += piece.bytes().len();
            continue;
        }
        portion(connection, socket, &parts[..used], bytes).await?;
        (used, bytes) = (0, 0);
        for part in piece.bytes().chunks(SEND_BYTES) {
            portion(connection, socket, &[part], part.len()).await?;
        }
    }
    portion(connection, socket, &parts[..used], bytes).await
}

async fn portion(
    connection: &Connection,
    socket: &mut WriteHalf,
    parts: &[&[u8]],
    bytes: usize,
) -> Option<()> {
    if bytes == 0 {
        return Some(());
    }
    let nudged = connection.nudged();
    if connection.end() == End::Cut {
        return None;
    }
    connection.set_sending(Some(time::now()));
    let mut writing = std::pin::pin!(socket.write_all_parts(parts));
    let mut interrupt = nudged;
    let written = loop {
        match unless(interrupt, writing.as_mut()).await {
            Some(written) => break written,
            None if connection.end() == End::Cut => return None,
            None => interrupt = connection.nudged(),
        }
    };
    connection.set_sending(None);
    written.ok()?; // Err: the peer is gone, which is no news for the log
    connection.sent(bytes);
    Some(())
}
