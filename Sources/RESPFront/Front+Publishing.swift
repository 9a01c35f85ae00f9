import Primitives
import RESPWire
import TieredStore

// The one place from which other clients hear what was done to keys.
extension Front {
    /// A command has run; the stripes of its keys are still held. Called only while somebody listens.
    @inline(never)
    func publish(_ session: Session, _ row: Command, _ arguments: Arguments) {
        for i in 0..<keys.count where keys.isChanged(i) {
            keyChanged(keys.key(i), hash: keys.hash(i), database: keys.database(i))
        }
        if !notifications.isEmpty { sendNotifications() }
    }

    /// A key was changed; its stripe is held.
    func keyChanged(_ key: ByteView, hash: UInt64, database: Int) {
        let stripe = worker.stripeNumber(of: hash)
        if let interest = server.interests.find(key, hash: hash, stripe: stripe, database: database) {
            interest.markWatchers()
        }
    }

    /// Something happened to a key beside commands; its stripe is held.
    func keyChangedItself(_ change: KeyChange, _ key: ByteView, _ hash: UInt64, _ database: Int) {
        guard audience.isListening else { return }
        if change != .created { keyChanged(key, hash: hash, database: database) }
    }

    /// A database is about to be emptied, or exchanged with another. The caller runs alone.
    func databaseChanges(_ database: Int, with other: Int? = nil) {
        guard audience.isListening else { return }
        server.interests.forEach(database: database) { interest, hash in
            let changes = interest.key.withView { key in
                worker.exists(key, hash: hash, database: database)
                    || other.map { worker.exists(key, hash: hash, database: $0) } ?? false
            }
            if changes { interest.markWatchers() }
        }
    }

    func sendNotifications() { notifications.removeAll(keepingCapacity: true) }

    func serveWaiters() {}

    /// A session is gone: nobody waits for it or tells it anything any more.
    func leave(_ session: Session) {
        endTransaction(session)
    }
}
