import Primitives
import RESPWire
import Synchronization

/// Who subscribes to what, loop by loop: publishers ask here which loops to tell.
///
/// Each loop knows its own subscribers (`Subscribers`). A publication gets a number under the lock,
/// and is posted to the other loops under it, so that all loops see all publications in one order;
/// a subscription made later has a higher number and does not get it. The lock is taken last.
final class PubSub: Sendable {
    enum Kind: Int, CaseIterable, Sendable { case channel, pattern, shardChannel }

    struct Publication: Sendable {
        let kind: Kind
        let channel: [UInt8]
        let payload: [UInt8]
        let number: UInt64
    }

    private struct State {
        var number: UInt64 = 0
        /// By kind, then name: subscribers on each loop.
        var counts: [[[UInt8]: [Int]]] = Kind.allCases.map { _ in [:] }
    }

    private let state = Mutex(State())
    /// Subscriptions of all clients.
    private let total = Atomic<Int>(0)
    private let loops: Int

    init(loops: Int) { self.loops = loops }

    /// Whether anybody subscribes to anything.
    var hasSubscribers: Bool { total.load(ordering: .acquiring) != 0 }

    /// Adds a client's subscription; publications with a higher number are for it.
    func subscribe(_ kind: Kind, _ name: [UInt8], loop: Int) -> UInt64 {
        total.add(1, ordering: .acquiringAndReleasing)
        return state.withLock { state in
            state.counts[kind.rawValue][name, default: Array(repeating: 0, count: loops)][loop] += 1
            return state.number
        }
    }

    func unsubscribe(_ kind: Kind, _ name: [UInt8], loop: Int) {
        total.subtract(1, ordering: .acquiringAndReleasing)
        state.withLock { state in
            guard var counts = state.counts[kind.rawValue][name] else { return }
            counts[loop] -= 1
            state.counts[kind.rawValue][name] = counts.allSatisfy { $0 == 0 } ? nil : counts
        }
    }

    /// Numbers a publication and hands it to each loop that has receivers. Returns how many clients get
    /// it, each subscription counted.
    func publish(
        _ kind: Kind, _ channel: [UInt8], _ payload: [UInt8], _ post: (Int, Publication) -> Void
    ) -> Int {
        state.withLock { state in
            state.number += 1
            let publication = Publication(
                kind: kind, channel: channel, payload: payload, number: state.number)
            var receivers = state.counts[kind.rawValue][channel] ?? Array(repeating: 0, count: loops)
            if kind == .channel {
                for (pattern, counts) in state.counts[Kind.pattern.rawValue]
                where PubSub.matches(pattern, channel) {
                    for i in 0..<loops { receivers[i] += counts[i] }
                }
            }
            for loop in 0..<loops where receivers[loop] > 0 { post(loop, publication) }
            return receivers.reduce(0, +)
        }
    }

    static func matches(_ pattern: [UInt8], _ channel: [UInt8]) -> Bool {
        pattern.withView { pattern in channel.withView { Glob(pattern).matches($0) } }
    }

    // MARK: PUBSUB

    func names(_ kind: Kind, matching pattern: ByteView?) -> [[UInt8]] {
        state.withLock { state in
            state.counts[kind.rawValue].keys.filter { name in
                pattern.map { pattern in name.withView { Glob(pattern).matches($0) } } ?? true
            }
        }
    }

    func count(_ kind: Kind, _ name: [UInt8]) -> Int {
        state.withLock { $0.counts[kind.rawValue][name]?.reduce(0, +) ?? 0 }
    }

    func nameCount(_ kind: Kind) -> Int { state.withLock { $0.counts[kind.rawValue].count } }
}

/// One loop's subscribers, by kind and name.
struct Subscribers {
    struct Subscriber {
        let token: UInt32
        /// Publications up to this number came before it.
        let since: UInt64
    }
    private var byName: [[[UInt8]: [Subscriber]]] = PubSub.Kind.allCases.map { _ in [:] }

    mutating func add(_ kind: PubSub.Kind, _ name: [UInt8], _ subscriber: Subscriber) {
        byName[kind.rawValue][name, default: []].append(subscriber)
    }

    mutating func remove(_ kind: PubSub.Kind, _ name: [UInt8], token: UInt32) {
        byName[kind.rawValue][name]?.removeAll { $0.token == token }
        if byName[kind.rawValue][name]?.isEmpty ?? false { byName[kind.rawValue][name] = nil }
    }

    subscript(kind: PubSub.Kind, name: [UInt8]) -> [Subscriber] { byName[kind.rawValue][name] ?? [] }

    var patterns: [[UInt8]: [Subscriber]] { byName[PubSub.Kind.pattern.rawValue] }
}

/// What one client subscribes to.
final class Subscriptions {
    private var names: [Set<[UInt8]>] = PubSub.Kind.allCases.map { _ in [] }

    subscript(kind: PubSub.Kind) -> Set<[UInt8]> {
        get { names[kind.rawValue] }
        set { names[kind.rawValue] = newValue }
    }

    /// The count SUBSCRIBE's replies tell: channels and patterns together, shard channels alone.
    func count(with kind: PubSub.Kind) -> Int {
        kind == .shardChannel ? self[.shardChannel].count : self[.channel].count + self[.pattern].count
    }

    var isEmpty: Bool { names.allSatisfy { $0.isEmpty } }
}

// Subscribing and delivering.
extension Front {
    /// False if the session subscribes already.
    func subscribe(_ session: Session, _ kind: PubSub.Kind, _ name: [UInt8]) {
        let own = session.subscriptions ?? Subscriptions()
        session.subscriptions = own
        session.modes.insert(.subscribed)
        guard own[kind].insert(name).inserted else { return }
        let since = server.pubsub.subscribe(kind, name, loop: index)
        subscribers.add(kind, name, Subscribers.Subscriber(token: session.token, since: since))
    }

    func unsubscribe(_ session: Session, _ kind: PubSub.Kind, _ name: [UInt8]) {
        guard let own = session.subscriptions, own[kind].remove(name) != nil else { return }
        subscribers.remove(kind, name, token: session.token)
        server.pubsub.unsubscribe(kind, name, loop: index)
        if own.isEmpty { session.modes.remove(.subscribed) }
    }

    func unsubscribeAll(_ session: Session) {
        guard let own = session.subscriptions else { return }
        for kind in PubSub.Kind.allCases {
            for name in own[kind] { unsubscribe(session, kind, name) }
        }
    }

    /// Publishes to all loops; returns how many clients get it. `place`: where the running client gets it
    /// among its own replies, if it subscribes itself; where it stands afterwards.
    func publish(
        _ kind: PubSub.Kind, _ channel: [UInt8], _ payload: [UInt8], place: inout Int
    ) -> Int {
        let receivers = server.pubsub.publish(kind, channel, payload) { loop, publication in
            if loop == index {
                ownPublication = (publication.number, place)
                _ = mailbox.post(.publication(publication))
            } else {
                server.fronts[loop].post(.publication(publication))
            }
        }
        // What other loops published before comes first, in their order.
        if receivers > 0 { readMail() }
        if let own = ownPublication { place = own.place }
        ownPublication = nil
        return receivers
    }

    /// Writes a publication to this loop's subscribers.
    func deliver(_ publication: PubSub.Publication) {
        let isShard = publication.kind == .shardChannel
        for subscriber in subscribers[publication.kind, publication.channel]
        where subscriber.since < publication.number {
            push(subscriber.token, publication.number) { out in
                out.push(3)
                out.bulk(isShard ? "smessage" : "message")
                publication.channel.withView { out.bulk($0) }
                publication.payload.withView { out.bulk($0) }
            }
        }
        if isShard { return }
        for (pattern, members) in subscribers.patterns where PubSub.matches(pattern, publication.channel) {
            for subscriber in members where subscriber.since < publication.number {
                push(subscriber.token, publication.number) { out in
                    out.push(4)
                    out.bulk("pmessage")
                    pattern.withView { out.bulk($0) }
                    publication.channel.withView { out.bulk($0) }
                    publication.payload.withView { out.bulk($0) }
                }
            }
        }
    }

    /// Writes something a client has not asked for. While its own request runs it comes after the
    /// reply: a reply may be taken back, or be inside an aggregate. What the request itself publishes comes
    /// where it was published (Redis 7.0), also inside an aggregate.
    func push(_ token: UInt32, _ number: UInt64? = nil, _ write: (ReplyWriter) -> Void) {
        guard let session = session(token), !session.closesAfterReply, !session.isKilled else { return }
        guard token == runningToken else {
            write(ReplyWriter(session.output, version: session.version))
            if touched.last != token { touched.append(token) }
            return
        }
        // A reply that is not wanted is taken back with what stands beside it.
        if let own = ownPublication, own.number == number, session.replyMode == .on {
            let pushed = ReplyBuffer(capacity: 1024)
            write(ReplyWriter(pushed, version: session.version))
            session.output.insert(pushed.view, at: own.place)
            ownPublication!.place += pushed.count
            return
        }
        let deferred = session.deferredPushes ?? ReplyBuffer(capacity: 1024)
        session.deferredPushes = deferred
        write(ReplyWriter(deferred, version: session.version))
    }
}
