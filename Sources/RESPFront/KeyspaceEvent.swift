import Primitives
import TieredStore

/// Classes of keyspace notifications, and on which channels they are sent: the letters of
/// `notify-keyspace-events` (Redis 7.0).
public struct KeyspaceEvent: OptionSet, Sendable {
    public let rawValue: UInt16
    public init(rawValue: UInt16) { self.rawValue = rawValue }

    public static let generic = KeyspaceEvent(rawValue: 1 << 0)
    public static let string = KeyspaceEvent(rawValue: 1 << 1)
    public static let list = KeyspaceEvent(rawValue: 1 << 2)
    public static let set = KeyspaceEvent(rawValue: 1 << 3)
    public static let hash = KeyspaceEvent(rawValue: 1 << 4)
    public static let sortedSet = KeyspaceEvent(rawValue: 1 << 5)
    public static let expired = KeyspaceEvent(rawValue: 1 << 6)
    public static let evicted = KeyspaceEvent(rawValue: 1 << 7)
    public static let stream = KeyspaceEvent(rawValue: 1 << 8)
    public static let module = KeyspaceEvent(rawValue: 1 << 9)
    public static let keyMiss = KeyspaceEvent(rawValue: 1 << 10)
    public static let new = KeyspaceEvent(rawValue: 1 << 11)
    /// Sent to `__keyspace@<db>__:<key>`, with the event's name.
    public static let onKeyspaceChannel = KeyspaceEvent(rawValue: 1 << 12)
    /// Sent to `__keyevent@<db>__:<event>`, with the key.
    public static let onEventChannel = KeyspaceEvent(rawValue: 1 << 13)

    private static let letters: [(Character, KeyspaceEvent)] = [
        ("g", .generic), ("$", .string), ("l", .list), ("s", .set), ("h", .hash), ("z", .sortedSet),
        ("x", .expired), ("e", .evicted), ("t", .stream), ("d", .module), ("n", .new),
        ("K", .onKeyspaceChannel), ("E", .onEventChannel), ("m", .keyMiss),
    ]
    /// "A": all classes but key misses and new keys.
    private static let most = KeyspaceEvent(rawValue: 0x3ff)

    /// From the setting's text; letters that mean nothing were refused before.
    init(letters text: String) {
        self = []
        for letter in text {
            if letter == "A" { formUnion(.most) }
            for (own, event) in KeyspaceEvent.letters where own == letter { formUnion(event) }
        }
    }

    /// As CONFIG GET shows them.
    var letters: String {
        let isMost = isSuperset(of: .most)
        // Redis 7.0: "n" is not shown beside "A".
        let left = isMost ? subtracting([.most, .new]) : self
        let shown = KeyspaceEvent.letters.filter { left.contains($0.1) }
        return (isMost ? "A" : "") + String(shown.map(\.0))
    }

    /// Whether anything is sent at all: a class and a channel.
    var isSent: Bool { !isDisjoint(with: [.onKeyspaceChannel, .onEventChannel]) }
}

/// Something happened to a key; told to subscribers when the command has ended.
struct KeyNotification {
    let event: StaticString
    let key: [UInt8]
    let database: Int
    /// The reply stood already: the client itself is told behind it, else before it.
    let isBehindReply: Bool
}

extension Call {
    /// A keyspace notification about key `i` of the command, sent when the command has ended, if
    /// `notify-keyspace-events` asks for its class.
    /// Cost: one test while nobody asks.
    @inline(__always)
    public func notify(_ kind: KeyspaceEvent, _ event: StaticString, _ i: Int = 0) {
        if !enabledEvents.isDisjoint(with: kind) { queueNotification(event, i) }
    }

    /// As `notify`, when something was taken out of the collection at key `i`: with the last of it the key
    /// is gone too.
    public func notifyRemoval(_ kind: KeyspaceEvent, _ event: StaticString, _ i: Int = 0) {
        notify(kind, event, i)
        if !keys.exists(i) { notify(.generic, "del", i) }
    }

    @inline(never)
    private func queueNotification(_ event: StaticString, _ i: Int) {
        front.queueNotification(event, keys.key(i), keys.database(i))
    }
}
