import Primitives
import Synchronization
import TieredStore

/// How many clients want to hear of something, over all loops. One load tells that nobody does.
public final class Audience: Sendable {
    /// Everything below together, and 1 while keyspace notifications are turned on.
    private let listeners = Atomic<Int>(0)
    private let counts: [SharedCount] = Kind.allCases.map { _ in SharedCount() }

    enum Kind: Int, CaseIterable {
        /// Keys watched, each session's counted.
        case watchedKeys
        /// Clients that wait for keys.
        case waiters
        case monitors
        case trackers
        /// Whether notifications are on.
        case notifications
    }

    /// Whether anybody wants to hear of anything.
    @inline(__always)
    var isListening: Bool { listeners.load(ordering: .relaxed) != 0 }

    func add(_ n: Int, to kind: Kind) {
        counts[kind.rawValue].add(n)
        listeners.add(n, ordering: .relaxed)
    }

    func count(_ kind: Kind) -> Int { counts[kind.rawValue].value }
}

/// A count all loops change.
final class SharedCount: Sendable {
    private let word = Atomic<Int>(0)
    var value: Int { word.load(ordering: .relaxed) }
    func add(_ n: Int) { word.add(n, ordering: .relaxed) }
    func reset() { word.store(0, ordering: .relaxed) }
}

/// Where a client is: its loop, its token there, and its number, because tokens are used again.
struct ClientAddress: Sendable, Hashable {
    let loop: Int
    let token: UInt32
    let id: Int64
}

/// Says that a key a session watches was changed. Set by any loop.
final class WatchMark: Sendable {
    private let word = Atomic<Bool>(false)
    var isDirty: Bool { word.load(ordering: .acquiring) }
    func set(_ dirty: Bool) { word.store(dirty, ordering: .releasing) }
}

/// What clients want to hear of one key.
final class KeyInterest {
    let key: [UInt8]
    /// Logical database; `KeyInterests.anyDatabase` for those that track the key.
    let database: Int
    var watchers: [WatchMark] = []
    /// Clients that wait for the key, the first to be served first.
    var waiters: [Waiter] = []
    var trackers: [ClientAddress] = []

    init(_ key: [UInt8], _ database: Int) {
        self.key = key
        self.database = database
    }

    func markWatchers() { for mark in watchers { mark.set(true) } }

    var isEmpty: Bool { watchers.isEmpty && waiters.isEmpty && trackers.isEmpty }
}

/// What clients want to hear of keys: who watches, waits for or tracks each.
///
/// @unchecked: what is known of a key is touched only by who holds its stripe, or runs alone.
final class KeyInterests: @unchecked Sendable {
    static let anyDatabase = -1

    /// One stripe's keys, by hash.
    private final class Part {
        var byHash: [UInt64: [KeyInterest]] = [:]
    }
    private let parts: [Part]

    init(stripes: Int) { parts = (0..<stripes).map { _ in Part() } }

    func find(_ key: ByteView, hash: UInt64, stripe: Int, database: Int) -> KeyInterest? {
        parts[stripe].byHash[hash]?.first { interest in
            interest.database == database && interest.key.withView { $0 == key }
        }
    }

    func findOrAdd(_ key: ByteView, hash: UInt64, stripe: Int, database: Int) -> KeyInterest {
        if let found = find(key, hash: hash, stripe: stripe, database: database) { return found }
        let fresh = KeyInterest(key.array, database)
        parts[stripe].byHash[hash, default: []].append(fresh)
        return fresh
    }

    /// Forgets a key nobody wants to hear of any more.
    func dropIfEmpty(_ interest: KeyInterest, hash: UInt64, stripe: Int) {
        guard interest.isEmpty else { return }
        parts[stripe].byHash[hash]?.removeAll { $0 === interest }
        if parts[stripe].byHash[hash]?.isEmpty ?? false { parts[stripe].byHash[hash] = nil }
    }

    /// Every key of a database somebody wants to hear of. The caller runs alone.
    func forEach(database: Int, _ body: (KeyInterest, UInt64) -> Void) {
        for part in parts {
            for (hash, interests) in part.byHash {
                for interest in interests where interest.database == database { body(interest, hash) }
            }
        }
    }

    var stripeCount: Int { parts.count }

    /// Keys of a stripe that are tracked, with their hashes.
    func tracked(stripe: Int) -> [(key: [UInt8], hash: UInt64)] {
        parts[stripe].byHash.flatMap { hash, interests in
            interests.filter { !$0.trackers.isEmpty }.map { ($0.key, hash) }
        }
    }

    /// The caller runs alone.
    func removeTrackers() {
        for (stripe, part) in parts.enumerated() {
            for (hash, interests) in part.byHash {
                for interest in interests where !interest.trackers.isEmpty {
                    interest.trackers = []
                    dropIfEmpty(interest, hash: hash, stripe: stripe)
                }
            }
        }
    }
}
