import Primitives
import RESPWire
import Synchronization
import TieredStore

/// CLIENT TRACKING of one session.
struct Tracking {
    struct Options: OptionSet {
        let rawValue: UInt8
        static let broadcast = Options(rawValue: 1)
        static let optIn = Options(rawValue: 2)
        static let optOut = Options(rawValue: 4)
        static let noLoop = Options(rawValue: 8)
    }
    var options: Options
    /// Who gets the invalidations instead, and whether that client is gone.
    var redirect: ClientAddress?
    var isRedirectBroken = false
    var prefixes: Set<[UInt8]> = []
    /// CLIENT CACHING, for the next command.
    var caching: Bool?

    /// Whether the keys of a command that reads are remembered.
    var remembersNext: Bool {
        if options.contains(.broadcast) { return false }
        if options.contains(.optIn) { return caching == true }
        if options.contains(.optOut) { return caching != false }
        return true
    }
}

/// Prefixes of keys whose changes are broadcast, and to whom. All loops'; the lock is taken last.
final class BroadcastPrefixes: Sendable {
    struct Listener: Sendable {
        let client: ClientAddress
        let noLoop: Bool
    }
    private let listeners = Mutex([[UInt8]: [Listener]]())
    private let total = Atomic<Int>(0)

    var isEmpty: Bool { total.load(ordering: .acquiring) == 0 }
    var count: Int { listeners.withLock { $0.count } }

    func add(_ prefix: [UInt8], _ listener: Listener) {
        listeners.withLock { $0[prefix, default: []].append(listener) }
        total.add(1, ordering: .acquiringAndReleasing)
    }

    func remove(_ prefix: [UInt8], _ client: ClientAddress) {
        listeners.withLock { listeners in
            listeners[prefix]?.removeAll { $0.client == client }
            if listeners[prefix]?.isEmpty ?? false { listeners[prefix] = nil }
        }
        total.subtract(1, ordering: .acquiringAndReleasing)
    }

    func prefixes(of key: ByteView) -> [[UInt8]] {
        listeners.withLock { listeners in
            listeners.keys.filter { prefix in
                prefix.count <= key.count && prefix.withView { $0 == key[0..<prefix.count] }
            }
        }
    }

    func listeners(of prefix: [UInt8]) -> [Listener] { listeners.withLock { $0[prefix] ?? [] } }
}

// Remembering.
extension Front {
    /// Remembers which keys a session that tracks has read; their stripes are held.
    func rememberKeys(_ session: Session, _ row: Command) {
        guard let tracking = session.tracking else { return }
        if row.flags.contains(.readonly), !row.flags.contains(.pubsub), tracking.remembersNext {
            let client = address(of: session)
            for i in 0..<keys.count {
                let hash = keys.keyHash(i), stripe = worker.stripeNumber(of: hash)
                let interest = server.interests.findOrAdd(
                    keys.key(i), hash: hash, stripe: stripe, database: KeyInterests.anyDatabase)
                if interest.trackers.isEmpty { server.trackedKeys.add(1) }
                if interest.trackers.contains(client) { continue }
                interest.trackers.append(client)
                server.trackedItems.add(1)
            }
        }
        // CLIENT CACHING is for one command, or one transaction.
        if tracking.caching != nil, !call.isInside, !row.name.hasPrefix("client"),
            !session.modes.contains(.inTransaction) {
            session.tracking!.caching = nil
        }
    }

    // MARK: Invalidating

    /// A key was changed; its stripe is held. Who has it in a cache is told.
    func invalidateTrackers(_ key: ByteView, hash: UInt64, stripe: Int) {
        if let interest = server.interests.find(
            key, hash: hash, stripe: stripe, database: KeyInterests.anyDatabase) {
            let trackers = interest.trackers, name = interest.key
            interest.trackers = []
            server.trackedKeys.add(-1)
            server.trackedItems.add(-trackers.count)
            server.interests.dropIfEmpty(interest, hash: hash, stripe: stripe)
            for client in trackers {
                if isOwnChange(client) { continue }
                if client.loop == index {
                    invalidate(client, [name])
                } else {
                    server.fronts[client.loop].post(.invalidation(of: client, keys: [name]))
                }
            }
        }
        guard !server.broadcasts.isEmpty else { return }
        for prefix in server.broadcasts.prefixes(of: key) {
            let own = runningToken == UInt32.max ? nil : session(runningToken).map(address)
            broadcasts[prefix, default: [:]].updateValue(own, forKey: key.array)
        }
    }

    /// NOLOOP: the client that runs now wants nothing of its own changes.
    private func isOwnChange(_ client: ClientAddress) -> Bool {
        guard client.loop == index, client.token == runningToken,
            let session = session(client.token), session.id == client.id
        else { return false }
        return session.tracking?.options.contains(.noLoop) ?? false
    }

    /// Tells those who listen to prefixes what was changed in this turn.
    func sendBroadcasts() {
        guard !broadcasts.isEmpty else { return }
        let changed = broadcasts
        broadcasts.removeAll(keepingCapacity: true)
        for (prefix, keys) in changed {
            let sorted = keys.keys.sorted { a, b in a.withView { a in b.withView { a < $0 } } }
            for listener in server.broadcasts.listeners(of: prefix) {
                let wanted = listener.noLoop
                    ? sorted.filter { keys[$0] != .some(.some(listener.client)) } : sorted
                if wanted.isEmpty { continue }
                if listener.client.loop == index {
                    invalidate(listener.client, wanted)
                } else {
                    server.fronts[listener.client.loop].post(
                        .invalidation(of: listener.client, keys: wanted))
                }
            }
        }
    }

    /// Every client that tracks forgets all: the caller runs alone.
    func invalidateAll() {
        guard audience.count(.trackers) > 0 else { return }
        server.interests.removeTrackers()
        server.trackedKeys.reset()
        server.trackedItems.reset()
        for front in server.fronts {
            if front === self { invalidateEverything() } else { front.post(.invalidateEverything) }
        }
    }

    func invalidateEverything() {
        for case let session? in sessions where session.tracking != nil {
            invalidate(address(of: session), nil)
        }
    }

    // MARK: Telling clients

    /// Tells a client of this loop, or whom it names, that keys (nil: all) are not what they were.
    func invalidate(_ client: ClientAddress, _ keys: [[UInt8]]?) {
        guard let session = session(client.token), session.id == client.id, let tracking = session.tracking
        else { return }
        guard let target = tracking.redirect else {
            if session.version == .resp3 { pushInvalidation(client.token, keys) }
            return
        }
        if target.loop == index {
            invalidateRedirected(to: target, for: client, keys)
        } else {
            server.fronts[target.loop].post(.redirectedInvalidation(to: target, for: client, keys: keys))
        }
    }

    func invalidateRedirected(to target: ClientAddress, for client: ClientAddress, _ keys: [[UInt8]]?) {
        guard let session = session(target.token), session.id == target.id else {
            if client.loop == index { return redirectionBroke(client) }
            return server.fronts[client.loop].post(.redirectionBroken(of: client))
        }
        if session.version == .resp3 { return pushInvalidation(target.token, keys) }
        guard session.modes.contains(.subscribed) else { return }
        push(target.token) { out in
            out.push(3)
            out.bulk("message")
            out.bulk("__redis__:invalidate")
            Front.write(keys, out)
        }
    }

    private func pushInvalidation(_ token: UInt32, _ keys: [[UInt8]]?) {
        push(token) { out in
            out.push(2)
            out.bulk("invalidate")
            Front.write(keys, out)
        }
    }

    private static func write(_ keys: [[UInt8]]?, _ out: ReplyWriter) {
        guard let keys else { return out.null() }
        out.array(keys.count)
        for key in keys { key.withView { out.bulk($0) } }
    }

    /// The client that should have got the invalidations is gone.
    func redirectionBroke(_ client: ClientAddress) {
        guard let session = session(client.token), session.id == client.id, let tracking = session.tracking
        else { return }
        session.tracking!.isRedirectBroken = true
        guard session.version == .resp3, let target = tracking.redirect else { return }
        push(client.token) { out in
            out.push(2)
            out.bulk("tracking-redir-broken")
            out.integer(target.id)
        }
    }

    // MARK: The session's tracking

    /// What the table still has of the session goes when its keys change.
    func stopTracking(_ session: Session) {
        guard let tracking = session.tracking else { return }
        for prefix in tracking.prefixes { server.broadcasts.remove(prefix, address(of: session)) }
        session.tracking = nil
        server.audience.add(-1, to: .trackers)
    }

    /// tracking-table-max-keys: clients forget some keys, so that others fit.
    func limitTrackedKeys() {
        let limit = server.configuration.trackingTableMaxKeys
        guard limit > 0, server.trackedKeys.value > limit else { return }
        var stripe = Int(trackingHand), left = server.interests.stripeCount
        while server.trackedKeys.value > limit, left > 0 {
            stripe = (stripe + 1) % server.interests.stripeCount
            left -= 1
            worker.withStripe(number: stripe) {
                let tracked = server.interests.tracked(stripe: stripe)
                for (key, hash) in tracked where server.trackedKeys.value > limit {
                    key.withView { invalidateTrackers($0, hash: hash, stripe: stripe) }
                }
            }
        }
        trackingHand = UInt32(stripe)
    }
}
