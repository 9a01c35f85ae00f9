import Primitives
import RESPFront
import RESPWire
import TieredStore

/// A seeded world: the store and the front as they are, one thread, a disk that fails, clients that
/// check every reply. The same seed gives the same run, to the byte.
public final class World {
    /// What came of a run.
    public struct Report: Sendable, Equatable {
        public var seed: UInt64
        public var steps = 0
        public var answered = 0
        /// Requests answered with an error that a fault explains.
        public var refused = 0
        public var diskRequests = 0
        public var diskFaults = 0
        public var demotions: UInt64 = 0
        public var compactions: UInt64 = 0
        /// Hash of every reply and every disk request, in order.
        public var digest: UInt64 = 0xcbf2_9ce4_8422_2325
        /// The first thing that was wrong.
        public var problem: String?
    }

    private var random: Random
    private let store: Store
    private let server: ServerState
    private let front: Front
    private let disk: SimulatedDisk
    private let faults: Faults
    private var clients: [SimulatedClient] = []
    private var now: Int64 = 1_800_000_000_000
    /// Nanoseconds; a millisecond a step, also while `now` stands still.
    private var monotonic: UInt64 = 1_000_000_000
    private var report: Report

    public init(seed: UInt64) {
        random = Random(seed: seed)
        report = Report(seed: seed)
        faults = Faults(&random)
        var options = StoreOptions.tiny
        options.seed = random.next()
        options.hashSeed = random.next()
        options.memoryLimit = Int(512 + random.below(1536)) << 10
        options.readBuffers = Int(1 + random.below(8))
        options.writeBuffers = Int(2 + random.below(3))
        options.tierCapacity = Int(16 + random.below(200)) * options.segmentSize
        guard let store = Store(options) else { fatalError("no address space") }
        self.store = store
        store.policy = .noEviction
        server = ServerState(
            store: store, configuration: Configuration(), now: now, processID: 1, seed: options.seed,
            ticksPerMicrosecond: 1)
        front = server.fronts[0]
        disk = SimulatedDisk(
            byteCount: store.log.headerSize + options.tierCapacity, faults: faults)
        setTime()
        let keys = 4 + random.below(200), sizeLimit = 2 + random.below(60000)
        for number in 0..<Int(1 + random.below(6)) {
            let session = front.open(descriptor: -1, peerAddress: "simulated", localAddress: "simulated")
            clients.append(SimulatedClient(
                session: session, number: number, keys: keys, sizeLimit: sizeLimit))
        }
    }

    private func setTime() {
        front.worker.setTime(milliseconds: now, nanoseconds: monotonic)
    }

    /// Runs `steps` steps, then lets everything come to rest.
    public func run(steps: Int) -> Report {
        for _ in 0..<steps where report.problem == nil {
            step(issuing: true)
            report.steps += 1
        }
        var quiet = 0
        while report.problem == nil, clients.contains(where: { !$0.isQuiet }) || !disk.isIdle {
            step(issuing: false)
            quiet += 1
            if quiet > 200_000 {
                report.problem = "clients still wait when all else is at rest: "
                + clients.map { "\($0.session.wait) \($0.session.queuedInput)" }.joined(separator: ", ")
                + "; \(front.worker.waitingWriters) writers, "
                + "RAM \(store.ledger.used) of \(store.ledger.limit)"
            }
        }
        finish()
        return report
    }

    private func step(issuing: Bool) {
        // Time stands still while a client has an expiry in flight that its model has not seen:
        // requests run and are checked within one step of the clock.
        if clients.allSatisfy({ $0.isQuiet }) { now += Int64(random.below(200)) }
        monotonic += 1_000_000
        setTime()
        let client = clients[Int(random.below(UInt64(clients.count)))]
        if issuing, random.below(3) == 0 {
            for _ in 0..<(1 + random.below(12)) { client.issue(&random, now: now) }
        }
        for client in clients where random.below(2) == 0 { client.transmit(front, &random) }
        _ = front.worker.background()
        if random.below(8) == 0 { front.worker.expire(buckets: 64) }
        while let request = front.worker.takeRequest() {
            note(UInt64(request.offset) ^ UInt64(request.length) << 40)
            disk.submit(request, &random)
        }
        disk.advance(front.worker, &random)
        front.resume()
        front.touched.removeAll(keepingCapacity: true)
        for client in clients where random.below(3) != 0 || !issuing { read(client) }
    }

    private func read(_ client: SimulatedClient) {
        for i in 0..<client.session.output.count { note(UInt64(client.session.output.view[i])) }
        if let problem = client.take(front, faults: faults, now: now) {
            report.problem = report.problem ?? problem
        }
    }

    private func note(_ word: UInt64) { report.digest = (report.digest ^ word) &* 0x100_0000_01b3 }

    private func finish() {
        report.answered = clients.reduce(0) { $0 + $1.answered }
        report.refused = clients.reduce(0) { $0 + $1.refused }
        report.diskRequests = disk.completed
        report.diskFaults = disk.failed
        report.demotions = store.counters.demotions
        report.compactions = store.counters.compactions
        server.tearDown()
    }
}
