import Primitives
import RESPWire
import TieredStore

// The one place from which other clients hear what was done to keys.
extension Front {
    /// A command has run; the stripes of its keys are still held. Called only while somebody listens.
    @inline(never)
    func publish(_ session: Session, _ row: Command, _ arguments: Arguments) {
        publishKeys(session, row)
        if audience.count(.monitors) > 0 { showToMonitors(session, row, arguments) }
    }

    /// What concerns the window's keys alone.
    func publishKeys(_ session: Session, _ row: Command) {
        for i in 0..<keys.count where keys.isChanged(i) {
            keyChanged(keys.key(i), hash: keys.keyHash(i), database: keys.database(i))
        }
        if call.enabledEvents.contains(.keyMiss) { noteMisses(row) }
        if !notifications.isEmpty { sendNotifications() }
        if session.tracking != nil { rememberKeys(session, row) }
    }

    /// A key was changed; its stripe is held. `byCommand`: there may be something for those who wait.
    func keyChanged(_ key: ByteView, hash: UInt64, database: Int, byCommand: Bool = true) {
        let stripe = worker.stripeNumber(of: hash)
        if let interest = server.interests.find(key, hash: hash, stripe: stripe, database: database) {
            interest.markWatchers()
            if byCommand, !interest.waiters.isEmpty {
                readyKeys.append(ReadyKey(key: interest.key, hash: hash, database: database))
            }
        }
        if audience.count(.trackers) > 0 { invalidateTrackers(key, hash: hash, stripe: stripe) }
    }

    /// Something happened to a key beside commands; its stripe is held.
    func keyChangedItself(_ change: KeyChange, _ key: ByteView, _ hash: UInt64, _ database: Int) {
        if isRecording, change != .created { recordDeletion(key, database) }
        guard audience.isListening else { return }
        let (kind, event): (KeyspaceEvent, StaticString) =
            switch change {
            case .expired: (.expired, "expired")
            case .evicted: (.evicted, "evicted")
            case .created: (.new, "new")
            }
        if call.enabledEvents.contains(kind) {
            queueNotification(event, key, database)
        }
        if change != .created { keyChanged(key, hash: hash, database: database, byCommand: false) }
    }

    // MARK: Whole databases; the caller runs alone

    /// A database is about to be emptied.
    func databaseIsEmptied(_ database: Int) {
        guard audience.isListening else { return }
        markWatchers(database, ifIn: [database])
    }

    /// All emptied databases are empty now.
    func databasesWereEmptied() {
        if audience.isListening { invalidateAll() }
    }

    /// Two databases are about to be exchanged.
    func databasesAreSwapped(_ a: Int, _ b: Int) {
        guard audience.isListening else { return }
        markWatchers(a, ifIn: [a, b])
        if a != b { markWatchers(b, ifIn: [a, b]) }
    }

    /// They were exchanged: there may be something for those who wait.
    func databasesWereSwapped(_ a: Int, _ b: Int) {
        guard audience.isListening else { return }
        for database in Set([a, b]) {
            server.interests.forEach(database: database) { interest, hash in
                guard !interest.waiters.isEmpty,
                    interest.key.withView({ worker.exists($0, hash: hash, database: database) })
                else { return }
                readyKeys.append(ReadyKey(key: interest.key, hash: hash, database: database))
            }
        }
    }

    private func markWatchers(_ database: Int, ifIn others: [Int]) {
        server.interests.forEach(database: database) { interest, hash in
            let changes = interest.key.withView { key in
                others.contains { worker.exists(key, hash: hash, database: $0) }
            }
            if changes { interest.markWatchers() }
        }
    }

    // MARK: Notifications

    /// Keys a command that reads did not find.
    private func noteMisses(_ row: Command) {
        defer { missesBefore = worker.counters.keyspaceMisses }
        guard row.flags.contains(.readonly), missesBefore != worker.counters.keyspaceMisses else { return }
        for i in 0..<keys.count where !keys.exists(i) {
            queueNotification("keymiss", keys.key(i), keys.database(i))
        }
    }

    func queueNotification(_ event: StaticString, _ key: ByteView, _ database: Int) {
        let written = session(runningToken)?.output.count ?? 0
        notifications.append(KeyNotification(
            event: event, key: key.array, database: database, isBehindReply: written > call.replyStart))
    }

    func sendNotifications() {
        let events = notifications, enabled = call.enabledEvents
        notifications.removeAll(keepingCapacity: true)
        guard server.pubsub.hasSubscribers else { return }
        var moved = 0
        for event in events {
            let name = ByteView(event.event).array
            let end = session(runningToken)?.output.count ?? 0
            var place = event.isBehindReply ? end : call.replyStart + moved
            if enabled.contains(.onKeyspaceChannel) {
                let channel = Array("__keyspace@\(event.database)__:".utf8) + event.key
                _ = publish(.channel, channel, name, place: &place)
            }
            if enabled.contains(.onEventChannel) {
                let channel = Array("__keyevent@\(event.database)__:".utf8) + name
                _ = publish(.channel, channel, event.key, place: &place)
            }
            if !event.isBehindReply { moved = place - call.replyStart }
        }
    }

    // MARK: Leaving

    /// A session is gone, or is made like a new one: nobody waits for it or tells it anything more.
    func leave(_ session: Session) {
        endTransaction(session)
        unsubscribeAll(session)
        stopMonitoring(session)
        stopTracking(session)
        cancelWait(session)
    }
}
