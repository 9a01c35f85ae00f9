import CEpoll
import Glibc
import Synchronization

/// One thread of a run: its connections, each with a pipeline of requests in flight.
final class Load {
    private let plan: Plan
    private let thread: Int
    private let encoders: [Encoder]
    private let shares: [Double]
    private let reader: ReplyReader
    private let epoll = tierload_epoll()
    private let progress: Progress
    private var connections: [Connection] = []
    private var random: Generator
    private var outcome: Outcome
    /// Requests begun, of this thread.
    private var issued = 0
    private var answered = 0
    private let startedAt: UInt64
    /// With a rate or a trace's times: when the next request is to begin.
    private var due: UInt64
    private var nextIdle = 0
    /// Sizes the trace's writes gave the keys.
    private var sizes: [Int32] = []
    private var sampler: Sampler?

    init(_ plan: Plan, thread: Int, startedAt: UInt64, _ progress: Progress) throws(LoadError) {
        self.plan = plan
        self.thread = thread
        self.startedAt = startedAt
        self.progress = progress
        due = startedAt
        encoders = plan.mix.map { Encoder($0, plan.format) }
        let sum = plan.mix.reduce(0) { $0 + $1.share }
        var upTo = 0.0
        shares = plan.mix.map {
            upTo += $0.share / sum
            return upTo
        }
        reader = ReplyReader(memcached: plan.format == .memcached, verifies: plan.verifies)
        random = Generator(state: plan.seed &+ UInt64(thread) &* 0x1234_5678_9ABC_DEF1)
        outcome = Outcome(commands: plan.mix.count)
        if let trace = plan.trace { sizes = Array(repeating: -1, count: trace.keyCount) }
        if plan.sampleEvery > 0 { sampler = Sampler(plan, startedAt) }
        let count = plan.clients / plan.threads + (thread < plan.clients % plan.threads ? 1 : 0)
        for number in 0..<count {
            let connection = try Connection(host: plan.host, port: plan.port, number: UInt32(number))
            tierload_epoll_add(epoll, connection.socket, UInt32(number))
            connections.append(connection)
        }
    }

    deinit { close(epoll) }

    private var isPaced: Bool { plan.rate > 0 || plan.traceSpeed > 0 }

    private func isOver(_ now: UInt64) -> Bool {
        if plan.seconds > 0 { return Double(now - startedAt) >= plan.seconds * 1e9 }
        return issued * plan.threads + thread >= plan.requests
    }

    func run() throws(LoadError) -> Outcome {
        var now = startedAt
        if !isPaced { for connection in connections { try refill(connection, now) } }
        var ready = [UInt32](repeating: 0, count: 256)
        while answered < issued || !isOver(now) {
            if isPaced { try startDue(now) }
            let n = tierload_epoll_wait(epoll, &ready, 256, patience(now))
            now = tierload_now()
            for i in 0..<Int(max(0, n)) { try serve(connections[Int(ready[i])], now) }
            progress.answered(thread, answered)
            if sampler != nil { sampler!.take(now, &outcome) }
        }
        outcome.nanoseconds = tierload_now() - startedAt
        return outcome
    }

    /// Nanoseconds to wait for replies: with a rate no longer than until the next request.
    private func patience(_ now: UInt64) -> Int64 {
        guard isPaced, !isOver(now), hasRoom else { return 20_000_000 }
        return due > now ? Int64(min(due - now, 20_000_000)) : 0
    }

    private var hasRoom: Bool { connections.contains { $0.inFlight < plan.pipeline } }

    private func serve(_ connection: Connection, _ now: UInt64) throws(LoadError) {
        if !connection.isSent { try connection.flush(epoll) }
        try connection.receive(reader) { request, kind, reply in
            note(request, kind, reply, now)
            if kind == .missing, plan.fillsMissing, request.expected.key >= 0 {
                connection.fills.append((request.expected.key, self.size(of: request.expected.key)))
            }
        }
        if plan.slides ? connection.inFlight < plan.pipeline : connection.inFlight == 0 && connection.isSent
        {
            if !isPaced || !connection.fills.isEmpty { try refill(connection, now) }
        }
    }

    private func note(
        _ request: Connection.Pending, _ kind: ReplyReader.Kind, _ reply: UnsafeRawBufferPointer,
        _ now: UInt64
    ) {
        answered += 1
        let latency = now > request.since ? now - request.since : 0
        sampler?.record(latency, isMissing: kind == .missing)
        outcome.rows[request.command].requests += 1
        _ = outcome.rows[request.command].latency.record(latency)
        switch kind {
        case .right: break
        case .missing: outcome.rows[request.command].missing += 1
        case .wrong: outcome.rows[request.command].wrong += 1
        case .error:
            outcome.rows[request.command].errors += 1
            if outcome.firstError.isEmpty {
                outcome.firstError = String(decoding: reply.prefix { $0 != 13 }, as: UTF8.self)
            }
        }
    }

    /// Fills the connection's pipeline and sends it.
    private func refill(_ connection: Connection, _ now: UInt64) throws(LoadError) {
        while connection.inFlight < plan.pipeline, let fill = connection.fills.popLast() {
            issued += 1
            append(connection, command: fillCommand, key: fill.key, size: fill.size, since: now)
        }
        while !isPaced, connection.inFlight < plan.pipeline, !isOver(now) { begin(connection, since: now) }
        try connection.flush(epoll)
    }

    private var fillCommand: Int { plan.mix.firstIndex { $0.writesValue } ?? 0 }

    /// Begins what is due, on connections with room, one after the other in turn.
    private func startDue(_ now: UInt64) throws(LoadError) {
        var touched: [Connection] = []
        while due <= now, !isOver(now) {
            guard let connection = nextWithRoom() else { break }
            begin(connection, since: due)
            if touched.last !== connection { touched.append(connection) }
            due = nextDue()
        }
        for connection in touched { try connection.flush(epoll) }
    }

    private func nextWithRoom() -> Connection? {
        for _ in connections.indices {
            let connection = connections[nextIdle]
            if connection.inFlight < plan.pipeline { return connection }
            nextIdle = nextIdle + 1 == connections.count ? 0 : nextIdle + 1
        }
        return nil
    }

    private func nextDue() -> UInt64 {
        nextIdle = nextIdle + 1 == connections.count ? 0 : nextIdle + 1
        if plan.traceSpeed > 0, let trace = plan.trace {
            let number = (issued * plan.threads + thread) % trace.requests.count
            return startedAt + UInt64(Double(trace.requests[number].due) / plan.traceSpeed)
        }
        let gap = 1e9 * Double(plan.threads) / plan.rate
        switch plan.arrivals {
        case .even: return startedAt + UInt64(Double(issued) * gap)
        case .poisson: return due + UInt64(-log(1 - random.fraction()) * gap)
        }
    }

    /// The next request of the plan.
    private func begin(_ connection: Connection, since: UInt64) {
        let number = issued * plan.threads + thread
        issued += 1
        if let trace = plan.trace {
            let request = trace.requests[number % trace.requests.count], key = Int(request.key)
            if request.isWrite || sizes[key] < 0 { sizes[key] = request.size }
            let command = request.isWrite ? fillCommand : plan.mix.firstIndex { $0.readsValue } ?? 0
            append(connection, command: command, key: key, size: size(of: key), since: since)
            return
        }
        var command = 0
        if plan.inTurn {
            command = connection.begun % plan.mix.count
        } else if shares.count > 1 {
            let at = random.fraction()
            while command + 1 < shares.count, at >= shares[command] { command += 1 }
        }
        let key = plan.distribution.next(&random, number)
        append(connection, command: command, key: key, size: plan.size.size(of: key), since: since)
    }

    private func size(of key: Int) -> Int {
        if !sizes.isEmpty, sizes[key] >= 0 { return Int(sizes[key]) }
        return plan.size.size(of: key)
    }

    private func append(_ connection: Connection, command: Int, key: Int, size: Int, since: UInt64) {
        let template = plan.mix[command]
        // A trace's key may be written by a request that is still on its way: its size is then not known.
        let expected = ReplyReader.Expected(
            key: template.readsValue ? key : -1, size: plan.trace == nil ? size : -1)
        let fields = Encoder.Fields(key: key, size: size, sequence: issued)
        connection.append(
            Connection.Pending(command: command, expected: expected, since: since),
            room: encoders[command].room(size)
        ) { encoders[command].encode(fields, &random, to: $0) }
    }
}
